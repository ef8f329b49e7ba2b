"""Passes from outside: a caller's or another package's pass added to a pipeline, or in the place of one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.passes import editing
from mosaic_onnx.passes.base import Pass, Passes

GROUP = "mosaic_onnx.passes"
"""The entry-point group: each entry is a ``Change``, or a tuple of them."""


@dataclass(frozen=True)
class _OnePass:
    """A pass from outside, and the pass of the pipeline whose place it refers to.

    Attributes:
        name: of the pipeline's pass.
        added: the pass from outside.
    """

    name: str
    added: Pass


class Before(_OnePass):
    """Run a pass before the named one."""

    def __call__(self, passes: Passes) -> Passes:
        """Return the passes with the added one among them."""
        return editing.before(passes, self.name, self.added)


class After(_OnePass):
    """Run a pass after the named one."""

    def __call__(self, passes: Passes) -> Passes:
        """Return the passes with the added one among them."""
        return editing.after(passes, self.name, self.added)


class Instead(_OnePass):
    """Run a pass in the place of the named one."""

    def __call__(self, passes: Passes) -> Passes:
        """Return the passes with the added one in the place of the other."""
        return editing.instead(passes, self.name, self.added)


Change = Callable[[Passes], Passes]
"""Makes a pipeline of another; ``Before``, ``After`` and ``Instead`` are such."""


def changed(passes: Passes, changes: Iterable[Change | str]) -> Passes:
    """Return a pipeline with passes from outside.

    Args:
        passes: the pipeline.
        changes: made in this order; a word names an entry of the group ``mosaic_onnx.passes``.

    Raises:
        UsageError: a change names no pass of the pipeline, or a word no entry, or its package cannot be loaded.
    """
    for change in changes:
        for one in installed(change) if isinstance(change, str) else (change,):
            passes = one(passes)
    return passes


def installed(word: str) -> Sequence[Change]:
    """Return the changes that an installed package offers under a name.

    Raises:
        UsageError: none does, or what it offers cannot be loaded or is not a change.
    """
    points: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
    if word not in points:
        here = ", ".join(sorted(points)) or "none"
        raise UsageError(f"no installed package offers passes called {word!r}", f"installed: {here}")
    try:
        found = points[word].load()
    except Exception as error:  # a foreign module may fail in any way
        raise UsageError(f"passes {word!r} cannot be loaded: {type(error).__name__}: {error}") from error
    changes = found if isinstance(found, tuple) else (found,)
    strange = next((one for one in changes if not callable(one)), None)
    if strange is not None:
        raise UsageError(
            f"passes {word!r} offer {type(strange).__name__}", "offer Before, After or Instead, or a tuple of them"
        )
    return changes
