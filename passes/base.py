"""The contract of a pass, and the pipeline: passes in order, which is a pass itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from mosaic_onnx.core.compatibility import add_note
from mosaic_onnx.core.errors import MosaicError, UsageError
from mosaic_onnx.core.progress import Step
from mosaic_onnx.passes.state import State, is_made

_log = logging.getLogger(__name__)


class Pass(Protocol):
    """A step from a state to the next one: a frozen dataclass whose fields are its options.

    Its result depends on the state and its options alone. It leaves the state that it is given, and everything in it,
    as it is; ``dataclasses.replace(state, field=...)`` makes the next one.

    Attributes:
        name: what errors, ``passes=`` and entry points call it; unique in a pipeline.
        requires: fields of ``State`` that it reads and that another pass makes.
        ensures: fields of ``State`` that it makes or replaces; all others must stay the objects that they were.
    """

    @property
    def name(self) -> str:
        """The pass's name."""
        ...

    @property
    def requires(self) -> Sequence[str]:
        """Fields of the state that it reads."""
        ...

    @property
    def ensures(self) -> Sequence[str]:
        """Fields of the state that it makes."""
        ...

    def __call__(self, state: State) -> State:
        """Return the next state.

        Raises:
            MosaicError: the work cannot go on; the pipeline adds the pass's name.
        """
        ...


Passes = tuple[Pass, ...]


@dataclass(frozen=True)
class Pipeline:
    """Passes in order; a pass itself.

    Attributes:
        passes: in the order in which they run.
        name: what errors call it.
    """

    passes: Passes
    name: str = "pipeline"

    @property
    def requires(self) -> tuple[str, ...]:
        """The keys that the first pass requires."""
        return missing(self.passes)

    @property
    def ensures(self) -> tuple[str, ...]:
        """The keys that hold after the last pass."""
        return tuple(dict.fromkeys(name for one in self.passes for name in one.ensures))

    def __call__(self, state: State) -> State:
        """Return the state after the last pass; see ``run_passes``."""
        return run_passes(self.passes, state)


def run_passes(passes: Sequence[Pass], state: State) -> State:
    """Run passes one after the other.

    Raises:
        UsageError: a pass requires what no pass before it makes, or breaks what it promises; nothing has run in the
            first case.
        MosaicError: a pass failed; the error's ``passes`` name it.
    """
    check_order(passes, state)
    for one in passes:
        state = run_pass(one, state)
    return state


def run_pass(one: Pass, state: State) -> State:
    """Run one pass, and hold it to what it promises.

    Raises:
        UsageError: the pass requires what is not there, or does not do what it promises.
        MosaicError: the pass failed; the error's ``passes`` name it.
    """
    check_order((one,), state)
    if state.progress is not None:
        state.progress(Step(one.name))
    started_s = time.perf_counter()
    try:
        after = one(state)
    except MosaicError as error:
        error.passes = (one.name, *error.passes)
        raise
    except Exception as error:
        add_note(error, f"in pass {one.name}")
        raise
    _check_promises(one, state, after)
    _log.info("pass %s: %.3f s", one.name, time.perf_counter() - started_s)
    return after


def check_order(passes: Sequence[Pass], state: State) -> None:
    """Refuse passes in an order in which they cannot run.

    Raises:
        UsageError: a pass requires what neither the state nor a pass before it has, or two passes share a name.
    """
    names = [one.name for one in passes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two passes are called {twice!r}", "give each pass of a pipeline a name of its own")
    made = {each.name for each in fields(State) if is_made(getattr(state, each.name))}
    for one in passes:
        unknown = sorted({*one.requires, *one.ensures} - {each.name for each in fields(State)})
        if unknown:
            raise UsageError(f"pass {one.name}: a state has no field {unknown[0]!r}", "see mosaic_onnx.passes.state")
        absent = [name for name in one.requires if name not in made]
        if absent:
            makes = "no pass before it makes it" if len(passes) > 1 else "it is not there"
            raise UsageError(f"pass {one.name} requires {absent[0]}: {makes}", "put it after a pass that does")
        made |= set(one.ensures)


def missing(passes: Iterable[Pass]) -> tuple[str, ...]:
    """Return what passes require and none of them before makes."""
    made: set[str] = set()
    found: dict[str, None] = {}
    for one in passes:
        found |= dict.fromkeys(name for name in one.requires if name not in made)
        made |= set(one.ensures)
    return tuple(found)


def _check_promises(one: Pass, before: State, after: State) -> None:
    """Refuse a pass that does not make what it ensures, or changes anything else.

    Raises:
        UsageError: it does.
    """
    if not isinstance(after, State):
        raise UsageError(f"pass {one.name} returns {type(after).__name__}, not a State")
    for each in fields(State):
        was, now = getattr(before, each.name), getattr(after, each.name)
        if each.name in one.ensures and not is_made(now):
            raise UsageError(f"pass {one.name} does not make {each.name}, which it ensures")
        if each.name not in one.ensures and now is not was:
            raise UsageError(f"pass {one.name} changes {each.name} and does not say so", "name it in its `ensures`")
