"""A folder that a parent shares with its child, in memory where the system has such folders; none outlives its owner.

The owner holds a lock on the folder. A folder whose lock is free was left by a process that was killed: the next
process that makes one removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # not POSIX: what is left behind there lies in the temporary folder, which the system clears
    fcntl = None  # type: ignore[assignment]

_PREFIX = "mosaic-locked-"
"""Only folders whose owners lock them have it."""
_YOUNG_S = 60.0
"""A folder of this age may still be on its way to its lock."""
_MEMORY = "/dev/shm"


class SharedFolder:
    """A new folder; gone when it is closed, when nobody holds it any more, and at the interpreter's end."""

    def __init__(self, place: str | None = None) -> None:
        """Make the folder, and remove those that killed processes left.

        Args:
            place: where; None for the system's memory, or its temporary folder.
        """
        where = Path(place or _usual_place())
        remove_left_behind(where)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
        self._close = weakref.finalize(self, _remove_own, os.getpid(), self.path, _lock(self.path))

    def close(self) -> None:
        """Remove the folder; calling it twice is harmless."""
        self._close()


def is_shared_folder(folder: str) -> bool:
    """Return whether a folder is one of these, of whatever process."""
    return Path(folder).name.startswith(_PREFIX)


def remove_left_behind(place: Path) -> None:
    """Remove the folders of this user whose owners are dead."""
    if fcntl is None:
        return
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            state = folder.lstat()
            if state.st_uid != os.getuid() or time.time() - state.st_mtime < _YOUNG_S:
                continue
            descriptor = _lock(folder)
        except OSError:  # somebody else removed it
            continue
        if descriptor is not None:
            _remove(folder, descriptor)


def _lock(folder: Path) -> int | None:
    """Return a descriptor that holds a folder's lock; None where another process holds it, or nobody can."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_own(owner: int, folder: Path, descriptor: int | None) -> None:
    """Remove a folder, unless this process is only a fork of its owner."""
    if os.getpid() == owner:
        _remove(folder, descriptor)


def _remove(folder: Path, descriptor: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if descriptor is not None:
        os.close(descriptor)


def _usual_place() -> str:
    return _MEMORY if os.access(_MEMORY, os.W_OK) else tempfile.gettempdir()
