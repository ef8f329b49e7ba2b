"""Text that is safe to print: names come from files, and a terminal obeys control characters."""

from __future__ import annotations

import re

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of what follows."""

_KEPT = 100
_LONG_WORD = re.compile(rf"\S{{{3 * _KEPT},}}")


def printable(text: str) -> str:
    """Return a text with escapes (backslash, x, number) in the place of characters that a terminal obeys.

    Lone surrogates, which no encoding can write, become escapes too.
    """
    plain = _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    return plain.encode("utf-8", "backslashreplace").decode("utf-8")


def brief(text: str) -> str:
    """Return a printable text whose words are no longer than a reader wants: a name may be a megabyte long."""
    return _LONG_WORD.sub(lambda found: f"{found[0][:_KEPT]}…{found[0][-_KEPT:]}", printable(text))
