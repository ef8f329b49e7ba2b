"""Reading TOML: errors name the file, and nothing is nested so deep that a later step could not follow."""

from __future__ import annotations

from mosaic_onnx.core.compatibility import tomllib
from mosaic_onnx.core.errors import ModelError

MOST_NESTED = 64
"""Tables and arrays within each other; no file of ours has more than six."""


def load_toml(text: str, what: str) -> dict[str, object]:
    """Return the content of a TOML text.

    Args:
        text: the TOML text.
        what: what to call it in errors.

    Raises:
        ModelError: it is not TOML, or is nested too deeply.
    """
    try:
        content: dict[str, object] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError of its own
        raise ModelError(f"{what}: not TOML: {error}") from error
    level: list[object] = [content]
    for _ in range(MOST_NESTED):
        level = [child for value in level for child in _children(value)]
        if not level:
            return content
    raise ModelError(f"{what}: more than {MOST_NESTED} tables or arrays lie within each other")


def _children(value: object) -> list[object]:
    """Return the tables and arrays that a table or an array holds."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inside if isinstance(child, dict | list)]
