"""Marks of a child's current action, which its parent can read after the child's death: a small mapped file."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Doing = Literal["load", "run", "close"]
_BYTES = 1 << 16
_CURRENT = 4
"""Bytes of the file that hold the number of the current mark; the table of marks, JSON lines, follows."""


@dataclass(frozen=True)
class Mark:
    """Something that a child does with a device.

    Attributes:
        device: the device's name.
        doing: what.
        name: of the slice.
    """

    device: str
    doing: Doing
    name: str = ""


class Marks:
    """A table of marks, and which of them is current. Setting a mark costs a store of four bytes."""

    def __init__(self, content: mmap.mmap) -> None:
        """Take a mapped file over; ``create`` and ``open`` are the ways here."""
        self._content = content
        self._numbers: dict[Mark, int] = {}
        self._end = _CURRENT

    @classmethod
    def create(cls, path: Path) -> Marks:
        """Return a new table in a new file."""
        path.write_bytes(bytes(_BYTES))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Marks:
        """Return the table in a file; one process writes to it."""
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), _BYTES))

    @classmethod
    def none(cls) -> Marks:
        """A table that nobody reads."""
        return cls(mmap.mmap(-1, _BYTES))

    def number(self, mark: Mark) -> int:
        """Return the number of a mark, entered in the table where it is new; 0, no mark, where the table is full."""
        if mark not in self._numbers:
            line = json.dumps(vars(mark)).encode() + b"\n"
            if self._end + len(line) > _BYTES:
                return 0
            self._content[self._end : self._end + len(line)] = line
            self._end += len(line)
            self._numbers[mark] = len(self._numbers) + 1
        return self._numbers[mark]

    def set(self, number: int) -> None:
        """Make a mark the current one; 0 for none."""
        self._content[:_CURRENT] = number.to_bytes(_CURRENT, "little")

    def clear(self) -> None:
        """Forget all marks."""
        self._content[:_CURRENT] = bytes(_CURRENT)

    def read(self) -> Mark | None:
        """Return the current mark, as another process set it; None where there is none."""
        number = int.from_bytes(self._content[:_CURRENT], "little")
        lines = self._content[_CURRENT:].split(b"\n")
        if not 0 < number <= len(lines):
            return None
        try:
            words: Mapping[str, Any] = json.loads(lines[number - 1])
            return Mark(**words)
        except (ValueError, TypeError):  # whatever a crashing process left there
            return None

    def close(self) -> None:
        """Unmap the file."""
        self._content.close()
