"""The operating system's files that describe the hardware; a recorded machine's folder can replace their root."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

ROOT_VARIABLE = "MOSAIC_SYSTEM_ROOT"
"""Environment variable: a folder that replaces ``/`` when hardware is looked up (a recorded machine)."""


def system_root() -> Path:
    """Return the folder under which ``sys/`` is read: ``/``, or the recorded machine that the environment names."""
    return Path(os.environ.get(ROOT_VARIABLE) or "/")


@dataclass(frozen=True)
class SystemFiles:
    """Reads small files under ``ROOT/sys``.

    Attributes:
        root: the folder that replaces ``/``.
    """

    root: Path = field(default_factory=system_root)

    @property
    def is_recorded(self) -> bool:
        """Return whether this is a recorded machine, not the current one."""
        return self.root != Path("/")

    def path(self, *parts: str) -> Path:
        """Return a path under ``sys``."""
        return self.root.joinpath("sys", *parts)

    def folders(self, *parts: str, pattern: str) -> tuple[Path, ...]:
        """Return the matching entries of a folder under ``sys``, sorted by name; none where it is absent."""
        folder = self.path(*parts)
        return tuple(sorted(folder.glob(pattern))) if folder.is_dir() else ()


def read_text(path: Path) -> str | None:
    """Return a file's text without white space around it; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def read_integer(path: Path) -> int | None:
    """Return the integer in a file; None where there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def read_integers(path: Path) -> tuple[int, ...]:
    """Return the whole numbers in a file, separated by white space; other words are left out."""
    return tuple(int(word) for word in (read_text(path) or "").split() if word.isdigit())


def parse_core_list(text: str) -> tuple[int, ...]:
    """Return the core numbers of the kernel's list form (``0-3,6``), ascending.

    Raises:
        ValueError: the text is not such a list.
    """
    cores: set[int] = set()
    for part in text.replace(" ", ",").split(","):
        if part:
            first, _, last = part.partition("-")
            cores.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cores))


def read_core_list(path: Path) -> tuple[int, ...]:
    """Return the core numbers in a file; none where it cannot be read."""
    try:
        return parse_core_list(read_text(path) or "")
    except ValueError:
        return ()
