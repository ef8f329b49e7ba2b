"""Hints for names that do not exist: the nearest that do."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a hint: the names nearest to a word, whatever their case, else all of them."""
    by_lower = {name.lower(): name for name in known}
    nearest = [by_lower[name] for name in get_close_matches(word.lower(), by_lower)]
    if nearest:
        return f"did you mean {' or '.join(nearest)}?"
    return f"one of: {', '.join(known)}" if known else ""


def same_but_case(word: str, known: Collection[str]) -> str | None:
    """Return the one name that a word is when case does not count; None where there is none, or several."""
    found = [name for name in known if name.lower() == word.lower()]
    return found[0] if len(found) == 1 else None
