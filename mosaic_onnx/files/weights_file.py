"""One file of weights that many models share; equal contents are written once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx.numpy_helper

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import subgraphs
from mosaic_onnx.core.graph.tensors import external_entry, is_external, tensor_bytes

SMALLEST_BYTES = 1024
"""Smaller tensors stay in the model: shape inference reads them, and a reference would be as long."""
PAGE_BYTES = 4096
"""Offsets of large tensors are multiples of this, so that a runtime can map them into memory."""
_CHUNK_BYTES = 1 << 22
_ZEROS = bytes(_CHUNK_BYTES)
_PAYLOADS = (
    "raw_data",
    "float_data",
    "int32_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "external_data",
)


Source = tuple[Path, int, int]
"""A part of a file of external data: its path, offset and length."""


@dataclass
class WeightsFile:
    """Moves the weights of models into one file.

    Attributes:
        file: open for writing, at its start.
        offsets: content digest → offset.
        digests: content digests of external data that was read before: models name the same again.
        end_bytes: the earliest offset of the next tensor.
    """

    file: BinaryIO
    offsets: dict[bytes, int] = field(default_factory=dict)
    digests: dict[Source, bytes] = field(default_factory=dict)
    end_bytes: int = 0

    def move(self, model: onnx.ModelProto, folder: str | None, location: str) -> None:
        """Move the large weights of a model into the file; the model then refers to them.

        Args:
            model: changed in place.
            folder: where its external data lies now; None where it has none.
            location: the file's path as the model will name it, from its own folder.

        Raises:
            ModelError: external data ends early.
        """
        for tensor in model.graph.initializer:
            if not is_external(tensor) and tensor_bytes(tensor.data_type, list(tensor.dims)) >= SMALLEST_BYTES:
                data = tensor.raw_data or onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data
                offset = self._keep([data], len(data), hashlib.sha256(data).digest())
                _refer(tensor, location, offset, len(data))
        # Small weights inside bodies stay where they are; what lies outside already must come along.
        for tensor in _tensors(model.graph):
            if is_external(tensor) and external_entry(tensor).location != location:
                self._move_external(tensor, Path(folder or "."), location)

    def _move_external(self, tensor: onnx.TensorProto, folder: Path, location: str) -> None:
        entry = external_entry(tensor)
        path = folder / entry.location
        source = path, entry.offset, entry.length
        if source not in self.digests:
            digest = hashlib.sha256()
            for chunk in _chunks(*source, tensor.name):
                digest.update(chunk)
            self.digests[source] = digest.digest()
        offset = self._keep(_chunks(*source, tensor.name), entry.length, self.digests[source])
        _refer(tensor, location, offset, entry.length)

    def _keep(self, chunks: list[bytes] | Iterator[bytes], length: int, digest: bytes) -> int:
        """Return the offset of a content, which is written if it is new."""
        if digest not in self.offsets:
            step = PAGE_BYTES if length >= PAGE_BYTES else 64
            offset = -(-self.end_bytes // step) * step
            self.file.seek(offset)
            for chunk in chunks:
                if len(chunk) == _CHUNK_BYTES and chunk == _ZEROS:
                    self.file.seek(_CHUNK_BYTES, os.SEEK_CUR)  # seeking leaves a hole, which takes no space
                else:
                    self.file.write(chunk)
            self.offsets[digest] = offset
            self.end_bytes = offset + length
            self.file.truncate(self.end_bytes)
        return self.offsets[digest]


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield initialisers of a graph and of the bodies in it."""
    yield from graph.initializer
    for node in graph.node:
        for body in subgraphs(node):
            yield from _tensors(body)


def _chunks(path: Path, offset: int, length: int, name: str) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        left = length
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise ModelError(f"external data of tensor '{name}' ends early in {path.name}", "export it again")
            left -= len(chunk)
            yield chunk


def _refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    for name in _PAYLOADS:
        tensor.ClearField(name)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
