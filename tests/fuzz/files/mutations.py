"""Changes by chance: of bytes, and of the trees that JSON and TOML files hold."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

Tree = Any

_ODD: tuple[Tree, ...] = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, 2**70, -(2**63), 0.0, -0.5, 1e-300, 1e308, "", "x", "cpu", "cpu@9",
    "../x", "/etc/passwd", "a\0b", "\ud800", "n" * 3000, [], [0], [[0]], {}, {"x": 1}, {"schema": "x"},
)  # fmt: skip
"""Replacements of a value."""


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """Up to five changes of a byte, a bit or a stretch."""
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 6)):
        at, kind = draw.randrange(len(changed)), draw.random()
        if kind < 0.5:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind < 0.7:
            changed[at] = draw.randrange(256)
        elif kind < 0.85 and len(changed) > 20:
            del changed[at : at + draw.randrange(1, 9)]
        else:
            start = draw.randrange(len(changed))
            changed[at:at] = changed[start : start + draw.randrange(1, 40)]
    return bytes(changed)


def mutated_tree(tree: Tree, draw: random.Random) -> Tree:
    """Up to three changes: a value replaced, dropped, doubled, moved or nudged, a key renamed."""
    changed = copy.deepcopy(tree)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        places = list(_places(changed))
        if not places:
            return changed
        holder, key = draw.choice(places)
        _change(holder, key, places, draw)
    return changed


def _places(tree: Tree) -> Iterator[tuple[Tree, Any]]:
    """Every value of a tree as its holder and the key or index in it."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _change(holder: Tree, key: Any, places: list[tuple[Tree, Any]], draw: random.Random) -> None:
    value, kind = holder[key], draw.random()
    if kind < 0.3:
        holder[key] = copy.deepcopy(draw.choice(_ODD))
    elif kind < 0.5 and isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = value + draw.choice([-1, 1, 0.5, 10])
    elif kind < 0.65:
        del holder[key]
    elif kind < 0.8:
        other, where = draw.choice(places)
        holder[key] = copy.deepcopy(other[where])
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(value))
    else:
        holder[draw.choice(["x", "meta", "name", f"{key}_"])] = copy.deepcopy(value)
