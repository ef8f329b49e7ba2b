"""Reading one untrusted model file: a regular file under a cap, parsed without its external data."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from mosaic_onnx.core.errors import ModelError


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Return the file's bytes, without waiting for a pipe or reading a device.

    Raises:
        ModelError: it is absent, unreadable, not a regular file, empty, or larger than ``max_bytes``.
    """
    with _opened(path, max_bytes) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read(max_bytes + 1)


def refuse_unreadable(path: Path, max_bytes: int) -> None:
    """Refuse a file that cannot be read, before long work that would need it; errors as for ``read_regular_file``."""
    with _opened(path, max_bytes):
        pass


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[int]:
    """Open a file and check its kind; its descriptor."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise ModelError(f"cannot open {str(path)!r}: {error.strerror}", "give the path of a .onnx file") from None
    except ValueError as error:
        raise ModelError(f"cannot open {str(path)!r}: {error}", "give the path of a .onnx file") from None
    try:
        _check_kind(os.fstat(descriptor), path, max_bytes)
        yield descriptor
    finally:
        os.close(descriptor)


def _check_kind(found: os.stat_result, path: Path, max_bytes: int) -> None:
    """Raise ``ModelError`` if the file is not regular, is empty, or is too large."""
    if stat.S_ISDIR(found.st_mode):
        raise ModelError(f"{str(path)!r} is a folder", "give the .onnx file inside it")
    if not stat.S_ISREG(found.st_mode):
        raise ModelError(f"{str(path)!r} is not a regular file", "give the path of a .onnx file")
    if found.st_size == 0:
        raise ModelError(f"{str(path)!r} is empty", "download or export it again")
    if found.st_size > max_bytes:
        raise ModelError(
            f"{str(path)!r} has {found.st_size} bytes, more than {max_bytes}",
            "save the weights as external data: onnx.save_model(…, save_as_external_data=True)",
        )


def parse_model(data: bytes, path: Path) -> onnx.ModelProto:
    """Return the model in those bytes, external tensors still external.

    Raises:
        ModelError: they are not an ONNX model, or are nested deeper than protobuf allows (100 messages).
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(
            f"{str(path)!r} is not an ONNX model, is truncated, or is nested too deep or too large to be parsed",
            "give a .onnx file; download or export it again if it was cut short",
        ) from None
    if not model.HasField("graph"):
        raise ModelError(f"{str(path)!r} holds no graph: it is not an ONNX model", "give a .onnx file")
    return model
