"""Numbers of threads that a device may ask for."""

from __future__ import annotations

import pytest

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.process.cpu_cores import MOST_THREADS, refuse_thread_count


@pytest.mark.parametrize("count", [0, -1, MOST_THREADS + 1, 1.5, "2", True])
def test_what_is_no_number_of_threads_is_refused_with_the_device(count: int | float | str | bool) -> None:
    with pytest.raises(UsageError, match=f"device npu: threads = {count!r} is not a number from 1 to {MOST_THREADS}"):
        refuse_thread_count("npu", count)


@pytest.mark.parametrize("count", [1, MOST_THREADS])
def test_numbers_that_a_runtime_can_start_are_taken(count: int) -> None:
    refuse_thread_count("npu", count)
