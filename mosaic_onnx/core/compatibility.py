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

        __str__ = str.__str__


__all__ = ["StrEnum", "tomllib"]
