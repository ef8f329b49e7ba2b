"""Quantities as text, in the units in which users give them: milliseconds, millijoules, MB."""

from __future__ import annotations


def seconds_text(seconds: float) -> str:
    """Return seconds as text in milliseconds: ``6.127 ms``; from a minute on, whole seconds."""
    return f"{seconds:.0f} s" if seconds >= 60 else f"{seconds * 1e3:.4g} ms"


def joules_text(joules: float) -> str:
    """Return joules as text in millijoules."""
    return f"{joules * 1e3:.4g} mJ"


def bytes_text(count: float) -> str:
    """Return bytes as text in bytes below 10 kB, else in kB, MB or GB (powers of 1000), three figures."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= max(size, 10_000):
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"
