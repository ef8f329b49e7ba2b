from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mosaic_onnx.core.profiles import HOST
from mosaic_onnx.profiling.measuring.copies import SHARED, CopyTimes, copy_entries, measure_copies
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from tests.unit.profiling.fake_backends import RecordedMemory

SIZES = {"small": 64, "large": 1 << 20}


def times(seconds: Callable[[int], float]) -> CopyTimes:
    points = tuple((4**power, seconds(4**power)) for power in range(1, 13))
    return CopyTimes(points, points)


def test_a_device_that_shares_the_hosts_memory_has_no_entries() -> None:
    assert copy_entries("cpu", SHARED, SIZES) == ()


def test_both_directions_get_a_line() -> None:
    into, out = copy_entries("gpu", times(lambda size: 1e-5 + 1e-9 * size), SIZES)
    assert (into.source, into.destination, out.source, out.destination) == (HOST, "gpu", "gpu", HOST)
    assert into.seconds == pytest.approx(1e-5, rel=1e-3)
    assert into.seconds_per_byte == pytest.approx(1e-9, rel=1e-3)
    assert into.tensors == {}


def test_where_no_line_fits_each_tensor_gets_its_own_figure() -> None:
    def kinked(size: int) -> float:
        return 1e-5 + (1e-9 * size if size < 1e5 else 8e-9 * size)

    into, _ = copy_entries("gpu", times(kinked), SIZES)
    small, large = into.tensors["small"].seconds, into.tensors["large"].seconds
    assert small == pytest.approx(kinked(64), rel=0.05)
    assert large == pytest.approx(kinked(1 << 20), rel=0.05)


def test_every_size_is_copied_both_ways() -> None:
    copied = measure_copies(RecordedMemory(), TimeBudget(0.001, 2, 3), sizes_bytes=(4, 4096))
    assert [size for size, _ in copied.to_device] == [size for size, _ in copied.from_device] == [4, 4096]
    assert all(np.isfinite(seconds) and seconds >= 0 for _, seconds in copied.to_device)
