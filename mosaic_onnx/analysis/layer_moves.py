"""The effect on a plan of moving one layer to another state while everything else stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.planner.core.request import TOLERANCE, PlacedSlice, Proposal
from mosaic_onnx.planner.core.simulate import Timeline, simulate, value


@dataclass(frozen=True)
class LayerMove:
    """The change of a plan when one layer moves to another state and everything else stays.

    Attributes:
        state: the other state.
        seconds: change of the plan's seconds; negative is faster. None where it cannot move there.
        joules: change of its joules; None where there are none.
        value: change of the plan's objective.
        slice_count: number of slices after the move.
        reason: why it cannot move there; empty where it can.
    """

    state: str
    seconds: float | None
    joules: float | None
    value: float | None
    slice_count: int
    reason: str = ""


def layer_move(table: CostTable, plan: Plan, proposal: Proposal, index: int, state: int, now: Timeline) -> LayerMove:
    """Return the effect of moving one layer to a state, in a slice of its own or joined to a neighbouring slice.

    Args:
        table: the profile's cost table.
        plan: the plan, for its objective and schedule.
        proposal: its slices.
        index: the layer.
        state: the state that it moves to.
        now: the simulator's word on the proposal as it is.
    """
    best: tuple[float, Timeline, int] | None = None
    reason = ""
    for tried in _with_layer_moved(proposal, index, state):
        try:
            timeline = simulate(table, tried, plan.schedule)
        except InfeasibleError as error:
            reason = reason or error.message
            continue
        figure = value(timeline, plan.objective)
        fewer = best is not None and len(tried) < best[2] and figure <= best[0] * (1 + TOLERANCE)
        if best is None or fewer or figure < best[0] * (1 - TOLERANCE):
            best = figure, timeline, len(tried)
    if best is None:
        return LayerMove(table.state_names[state], None, None, None, len(proposal), reason)
    figure, timeline, slice_count = best
    joules = None if timeline.joules is None or now.joules is None else timeline.joules - now.joules
    change = figure - value(now, plan.objective)
    return LayerMove(table.state_names[state], timeline.seconds - now.seconds, joules, change, slice_count)


def _with_layer_moved(proposal: Proposal, index: int, state: int) -> Iterable[Proposal]:
    """Return plans with one layer in a state: as a slice of its own, or in a neighbouring slice of that state."""
    number = next(k for k, placed in enumerate(proposal) if index in placed.layers)
    layers, own = proposal[number]
    place = layers.index(index)
    parts = [PlacedSlice(part, own) for part in (layers[:place], layers[place + 1 :])]
    alone = (*proposal[:number], *_filled(parts[:1]), PlacedSlice((index,), state), *_filled(parts[1:]))
    yield (*alone, *proposal[number + 1 :])
    yield _joined((*alone, *proposal[number + 1 :]), index)
    rest = _filled([PlacedSlice(layers[:place] + layers[place + 1 :], own)])
    earlier = next((k for k in range(number - 1, -1, -1) if proposal[k].state == state), None)
    if earlier is not None:
        joined = PlacedSlice((*proposal[earlier].layers, index), state)
        yield (*proposal[:earlier], joined, *proposal[earlier + 1 : number], *rest, *proposal[number + 1 :])
    later = next((k for k in range(number + 1, len(proposal)) if proposal[k].state == state), None)
    if later is not None:
        joined = PlacedSlice((index, *proposal[later].layers), state)
        yield (*proposal[:number], *rest, *proposal[number + 1 : later], joined, *proposal[later + 1 :])


def _joined(proposal: Proposal, index: int) -> Proposal:
    """Return the plan with the layer's slice joined to its neighbours in the same state."""
    number = next(k for k, placed in enumerate(proposal) if index in placed.layers)
    first = last = number
    while first > 0 and proposal[first - 1].state == proposal[number].state:
        first -= 1
    while last + 1 < len(proposal) and proposal[last + 1].state == proposal[number].state:
        last += 1
    layers = tuple(layer for placed in proposal[first : last + 1] for layer in placed.layers)
    return (*proposal[:first], PlacedSlice(layers, proposal[number].state), *proposal[last + 1 :])


def _filled(parts: Sequence[PlacedSlice]) -> tuple[PlacedSlice, ...]:
    return tuple(part for part in parts if part.layers)
