"""Put a folder in the place of another in one step: whatever interrupts it, the old one or the new one is there."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""``renameat2(2)``: two names change places atomically (Linux 3.15; ext4, xfs, btrfs, tmpfs, overlayfs)."""
_RENAME_SWAP = 2
"""The same of ``renamex_np(2)`` on macOS (APFS)."""


def can_exchange(folder: Path) -> bool:
    """Try whether two folders inside ``folder`` can change places atomically.

    Raises:
        OSError: nothing can be made in the folder.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".mosaic-") as temporary:
        names = [Path(temporary) / name for name in ("one", "other")]
        for name in names:
            name.mkdir()
        try:
            _exchange(*names)
        except OSError:
            return False
        return True


def put_in_place(new: Path, target: Path) -> None:
    """Put a folder, whole and on the disk, where ``target`` is or would be; what was there is removed afterwards.

    Args:
        new: in the same folder as ``target``.
        target: another folder, or a name that is free.

    Raises:
        OSError: it cannot be done here; then ``target`` is as it was and ``new`` is still there.
    """
    sync_tree(new)
    if target.exists():
        _exchange(new, target)
        _sync(target.parent)
        shutil.rmtree(new, ignore_errors=True)
    else:
        os.rename(new, target)
        _sync(target.parent)


def sync_tree(folder: Path) -> None:
    """Return when every file of a folder, and the folder itself, has reached the disk.

    Raises:
        OSError: one cannot be written.
    """
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            _sync(Path(root) / name)
        _sync(Path(root))


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder have reached the disk, where the system can say so.

    Raises:
        OSError: they cannot be written.
    """
    _sync(folder)


def _sync(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> None:
    call = _system_call()
    if call is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(other))
    if call(os.fsencode(one), os.fsencode(other)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


@cache
def _system_call() -> Any:
    """Return the C library's function that exchanges two names, taking both; None where it has none."""
    if os.name != "posix":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        swap = getattr(library, "renamex_np", None)
        return None if swap is None else lambda one, other: swap(one, other, ctypes.c_uint(_RENAME_SWAP))
    rename = getattr(library, "renameat2", None)
    if rename is None:
        return None
    return lambda one, other: rename(_AT_FDCWD, one, _AT_FDCWD, other, ctypes.c_uint(_RENAME_EXCHANGE))
