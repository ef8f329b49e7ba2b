"""Sets of input shapes: dimensions with several sizes, and every combination that is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from mosaic_onnx.core.errors import UsageError

ShapeChoices = Mapping[str, tuple[int | Sequence[int], ...]]
"""Shapes by input name; a dimension is a size, or several sizes to choose from."""
MOST_COMBINATIONS = 16
"""The model is compiled once for each."""


def combinations(choices: ShapeChoices) -> tuple[dict[str, tuple[int, ...]], ...]:
    """Return every combination of sizes.

    Dimensions that offer the same sizes in the same order vary together, as a batch or a length does that several
    inputs share; different ones are combined, each with each.

    Raises:
        UsageError: a dimension offers nothing or one size twice, or there are too many combinations.
    """
    sets: dict[tuple[int, ...], None] = {}
    for name, dims in choices.items():
        for dim in dims:
            if isinstance(dim, int):
                continue
            sizes = tuple(dim)
            if not sizes or len(set(sizes)) < len(sizes):
                raise UsageError(f"--input-shape {name}: {{{','.join(map(str, sizes))}}} is no set of sizes")
            sets[sizes] = None
    count = 1
    for sizes in sets:
        count *= len(sizes)
    if count > MOST_COMBINATIONS:
        raise UsageError(
            f"--input-shape asks for {count} combinations of sizes, and each is compiled by itself",
            f"ask for {MOST_COMBINATIONS} at most",
        )
    made = []
    for chosen in product(*sets):
        size_of = dict(zip(sets, chosen, strict=True))
        made.append(
            {
                name: tuple(dim if isinstance(dim, int) else size_of[tuple(dim)] for dim in dims)
                for name, dims in choices.items()
            }
        )
    return tuple(made)


def only_combination(choices: ShapeChoices) -> dict[str, tuple[int, ...]]:
    """Return the shapes, where no dimension offers a choice.

    Raises:
        UsageError: one does.
    """
    made = combinations(choices)
    if len(made) > 1:
        raise UsageError("--input-shape offers several sizes, and only compile takes those", "give one size")
    return made[0]
