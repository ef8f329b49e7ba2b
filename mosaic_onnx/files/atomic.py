"""Reading and writing files: atomically, as UTF-8, with errors that name the file."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.text.quantities import bytes_text
from mosaic_onnx.files.in_place import sync_folder

_PROBE_BYTES = 1 << 16
"""Written to see whether a folder takes anything: more than a file system keeps inside its own records."""

MOST_TEXT_BYTES = 1 << 30
"""Larger profiles, plans and descriptions are refused: the profile of 100,000 layers has a twentieth of it."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file atomically: a reader sees the old content or the whole new one, never a part.

    Raises:
        UsageError: the folder is missing or cannot be written.
    """
    target = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent or Path(), prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
            sync_folder(target.parent)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(
            f"cannot write {target}: {error.strerror}", "name a file in a folder that you can write"
        ) from error


def refuse_to_replace(path: str | os.PathLike[str], *, force: bool) -> None:
    """Raise ``UsageError`` before long work whose result could not be written, or would replace a file.

    Raises:
        UsageError: ``path`` exists and ``force`` is off, or the nearest folder above it that is there cannot be
            written.
    """
    target = Path(path)
    if not force and target.exists():
        raise UsageError(f"{path} exists", "name another output, or --force to replace it")
    refuse_unwritable(next(folder for folder in target.absolute().parents if folder.exists()))


def refuse_unwritable(folder: Path, least_bytes: int = 0) -> None:
    """Raise ``UsageError`` before long work whose result a folder cannot take.

    Args:
        folder: where something will be written.
        least_bytes: what it will take at least.

    Raises:
        UsageError: it is no folder, cannot be written, or its disk has too little room.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "create it, or name another output with -o")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        hint = "make room there, or name another output with -o"
        if error.errno != errno.ENOSPC:
            hint = "name an output with -o in a folder that you can write"
        raise UsageError(f"cannot write in {folder}: {error.strerror}", hint) from error
    if free_bytes < least_bytes:
        raise UsageError(
            f"{folder} has {bytes_text(free_bytes)} free, and the output takes at least {bytes_text(least_bytes)}",
            "make room there, or name another output with -o",
        )


def read_text(path: str | os.PathLike[str], max_bytes: int = MOST_TEXT_BYTES) -> str:
    """Return the UTF-8 text of a file, without waiting for a pipe or reading a device.

    Raises:
        ModelError: it is missing, unreadable, no regular file, larger than ``max_bytes``, or not UTF-8.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
                raise ModelError(f"cannot read {path}: it is {kind}")
            if found.st_size > max_bytes:
                words = f"it has {bytes_text(found.st_size)}, and at most {bytes_text(max_bytes)} are read"
                raise ModelError(f"cannot read {path}: {words}", "is it the right file?")
            return file.read(max_bytes + 1).decode("utf-8")
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"cannot read {path}: it is not UTF-8 text (byte {error.start})") from error
    except ValueError as error:
        raise ModelError(f"cannot read {str(path)!r}: {error}") from error


def _umask() -> int:
    """Return the process's umask; POSIX offers no way to read it without setting it for a moment."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
