"""Tensors between a parent and its child: each side writes them to a file of its own that the other maps.

Where the system has a folder in memory (``/dev/shm``) the file is shared memory. Tensors of text travel in the message.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.isolation.messages import dtype_of

Json = Any
_ALIGNMENT_BYTES = 64


class SharedTensors:
    """A file of tensors, kept mapped and enlarged as needed."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made when it is first written or read."""
        self._path = path
        self._content: mmap.mmap | None = None

    def write(self, tensors: Mapping[str, Array]) -> Json:
        """Write tensors from the file's start on and return where each lies."""
        index: dict[str, Json] = {}
        end = 0
        arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
        for name, array in arrays.items():
            entry: dict[str, Json] = {"dtype": array.dtype.name, "shape": list(array.shape)}
            if array.dtype.kind in "OUS":
                index[name] = {**entry, "dtype": "object", "strings": [str(each) for each in array.reshape(-1)]}
            else:
                index[name] = {**entry, "offset": end}
                end += -(-array.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        content = self._mapped(end) if end else None
        for name, array in arrays.items():
            if content is not None and "offset" in index[name] and array.nbytes:
                place = np.frombuffer(content, array.dtype, array.size, index[name]["offset"])
                np.copyto(place.reshape(array.shape), array)
        return {"path": str(self._path), "index": index}

    def read(self, index: Mapping[str, Json]) -> dict[str, Array]:
        """Return copies of the tensors that the other side wrote.

        Raises:
            ValueError: the index does not fit the file: the other side is broken.
        """
        needed = max((_end(entry) for entry in index.values() if "offset" in entry), default=0)
        content = self._existing(needed) if needed else None
        return {name: _tensor(content, entry) for name, entry in index.items()}

    def close(self) -> None:
        """Unmap the file; calling it twice is harmless."""
        content, self._content = self._content, None
        if content is not None:
            try:
                content.close()
            except BufferError:  # an array still looks into it: it is unmapped with the array
                return

    def _mapped(self, size: int) -> mmap.mmap:
        """The file, mapped, with at least so many bytes."""
        if self._content is None or len(self._content) < size:
            self.close()
            with self._path.open("a+b") as file:
                size = max(size, file.seek(0, 2))
                file.truncate(size)
                self._content = mmap.mmap(file.fileno(), size)
        return self._content

    def _existing(self, size: int) -> mmap.mmap:
        if self._content is None or len(self._content) < size:
            self.close()
            with self._path.open("r+b") as file:
                self._content = mmap.mmap(file.fileno(), 0)
        if len(self._content) < size:
            raise ValueError(f"{self._path} holds less than the message says")
        return self._content


def _end(entry: Mapping[str, Json]) -> int:
    count = int(np.prod(entry["shape"], dtype=np.int64))
    return int(entry["offset"]) + count * dtype_of(entry["dtype"]).itemsize


def _tensor(content: mmap.mmap | None, entry: Mapping[str, Json]) -> Array:
    shape = tuple(int(extent) for extent in entry["shape"])
    if "strings" in entry:
        return np.array(entry["strings"], dtype=object).reshape(shape)
    dtype, count = dtype_of(entry["dtype"]), int(np.prod(shape, dtype=np.int64))
    if count == 0 or content is None:
        return np.empty(shape, dtype)
    return np.frombuffer(content, dtype, count, int(entry["offset"])).reshape(shape).copy()
