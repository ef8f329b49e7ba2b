"""What copying costs between host memory and a device's own: a microbenchmark over sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from mosaic_onnx.backends.base import Memory
from mosaic_onnx.measuring.timing import Budget, time_call

SIZES_BYTES: tuple[int, ...] = tuple(4**power for power in range(1, 13))
"""4 bytes to 16 MiB, each four times the last: fixed costs and bandwidth both show."""

Points = tuple[tuple[int, float], ...]
"""(bytes, seconds) pairs, bytes ascending."""


@dataclass(frozen=True)
class CopyTimes:
    """Measured copies of a device with its own memory."""

    to_device: Points
    from_device: Points


def measure_copies(memory: Memory, budget: Budget, sizes_bytes: tuple[int, ...] = SIZES_BYTES) -> CopyTimes:
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
