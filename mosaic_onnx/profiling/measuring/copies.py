"""The transfer microbenchmark: copies between host memory and a device's own memory, over sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from mosaic_onnx.backends.base import Memory
from mosaic_onnx.core.profiles import HOST, TensorTransferCost, TransferCost
from mosaic_onnx.profiling.estimators.communication import fit_line, fit_pieces
from mosaic_onnx.profiling.measuring.timing import TimeBudget, time_call

SIZES_BYTES: tuple[int, ...] = tuple(4**power for power in range(1, 13))
"""4 bytes to 16 MiB, each four times the last, to show both fixed costs and bandwidth."""

Points = tuple[tuple[int, float], ...]
"""(bytes, seconds) pairs, bytes ascending."""


@dataclass(frozen=True)
class CopyTimes:
    """Measured transfers of a device with a memory of its own."""

    to_device: Points
    from_device: Points


SHARED = CopyTimes((), ())
"""The times of a device that works in host memory: there are no transfers."""

_ROUGH = 0.15
"""The relative error above which lines by size replace one line."""


def copy_entries(device: str, times: CopyTimes, tensor_bytes: Mapping[str, int]) -> tuple[TransferCost, ...]:
    """Return the profile's transfer costs for a device with its own memory; none for one that shares the host's.

    Args:
        device: its name.
        times: the measured transfers.
        tensor_bytes: the model's tensors; where one line does not fit all sizes, each gets its own figure.
    """
    if times == SHARED:
        return ()
    return (
        _entry(HOST, device, times.to_device, tensor_bytes),
        _entry(device, HOST, times.from_device, tensor_bytes),
    )


def _entry(source: str, destination: str, points: Points, tensor_bytes: Mapping[str, int]) -> TransferCost:
    line = fit_line(points)
    tensors = {}
    if line.worst_error > _ROUGH:
        pieces = fit_pieces(points)
        tensors = {name: TensorTransferCost(max(pieces.predict(size), 0.0)) for name, size in tensor_bytes.items()}
    meta = {"points": [list(point) for point in points], "worst_error": line.worst_error}
    return TransferCost(source, destination, line.seconds_per_byte, line.seconds, tensors=tensors, meta=meta)


def measure_copies(memory: Memory, budget: TimeBudget, sizes_bytes: tuple[int, ...] = SIZES_BYTES) -> CopyTimes:
    """Time uploads and downloads of each size; the device is idle meanwhile.

    Raises:
        BackendError: the device cannot allocate or copy.
    """
    up, down = [], []
    for size_bytes in sizes_bytes:
        array = np.ones(max(1, size_bytes // 4), np.float32)
        buffer = memory.allocate(array.dtype, array.shape)

        upload, download = partial(buffer.upload, array), partial(buffer.download, array)
        upload()
        download()
        down.append((array.nbytes, time_call(download, budget).seconds))
        up.append((array.nbytes, time_call(upload, budget).seconds))
    return CopyTimes(tuple(up), tuple(down))
