"""Parts of Python 3.11 for Python 3.10, which boards have (JetPack 6); ``typing_extensions`` has the types."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from enum import StrEnum

    import tomllib
else:
    from enum import Enum

    import tomli as tomllib

    class StrEnum(str, Enum):
        """Words that are text."""

        def __str__(self) -> str:
            """Return the word."""
            return str(self.value)


__all__ = ["StrEnum", "add_note", "tomllib"]


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an exception; tracebacks show it since Python 3.11."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        vars(error).setdefault("__notes__", []).append(note)
