"""Reading and writing files: atomically, as UTF-8, with errors that name the file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.in_place import sync_folder


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
    """Raise ``UsageError`` before long work whose result would replace a file.

    Raises:
        UsageError: ``path`` exists and ``force`` is off.
    """
    if not force and Path(path).exists():
        raise UsageError(f"{path} exists", "name another output, or --force to replace it")


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the UTF-8 text of a file.

    Raises:
        ModelError: it is missing, unreadable or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"cannot read {path}: it is not UTF-8 text (byte {error.start})") from error


def _umask() -> int:
    """Return the process's umask; POSIX offers no way to read it without setting it for a moment."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
