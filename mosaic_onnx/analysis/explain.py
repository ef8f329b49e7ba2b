"""Explain a plan: the layers' costs, the boundaries that matter, the savings if a device had a missing operator."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mosaic_onnx.analysis.layer_moves import LayerMove, layer_move
from mosaic_onnx.analysis.plan_diff import MovedLayer, PlanDiff, diff_plans
from mosaic_onnx.analysis.what_if import OperatorGain, operator_gains
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import InfeasibleError, ModelError, UsageError
from mosaic_onnx.core.plans import Plan, Transfer
from mosaic_onnx.core.profiles import HOST, Profile
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.planner.core.simulate import Timeline, simulate, value
from mosaic_onnx.planner.core.transfers import HOST_MEMORY, PaidTransfer, paid_transfers

__all__ = [
    "Boundary",
    "LayerExplanation",
    "LayerMove",
    "MovedLayer",
    "OperatorGain",
    "PlanDiff",
    "PlanExplanation",
    "StateCost",
    "diff_plans",
    "explain_layer",
    "explain_layers",
    "explain_plan",
    "proposal_of",
]

MOST_TRIED = 40
"""Boundaries of which it is said what the plan would cost without: each takes two runs of the simulator."""


@dataclass(frozen=True)
class StateCost:
    """The cost of a layer in one state; ``seconds`` is None where it cannot run there, for the given reason."""

    state: str
    seconds: float | None
    joules: float | None
    source: str
    reason: str = ""


@dataclass(frozen=True)
class LayerExplanation:
    """One layer of a plan.

    Attributes:
        name: the layer.
        index: its index in the profile.
        state: where the plan runs it.
        slice_number: the slice that holds it.
        nodes: node keys.
        op_types: operator types.
        costs: its cost in every state of the profile.
        brought: transfers of its inputs to its device.
        sent: transfers of its outputs.
        moves: the change of the plan for each other state, best first.
    """

    name: str
    index: int
    state: str
    slice_number: int
    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    costs: tuple[StateCost, ...]
    brought: tuple[Transfer, ...]
    sent: tuple[Transfer, ...]
    moves: tuple[LayerMove, ...]


@dataclass(frozen=True)
class Boundary:
    """The tensors that pass from one slice to another, or to or from the host.

    Attributes:
        source: number of the slice that produces them; None for the model's inputs.
        destination: number of the first slice that reads them there; None for the model's outputs.
        source_state: state of the source, or ``host``.
        destination_state: state of the destination, or ``host``.
        tensors: their names.
        bytes: all of their bytes.
        seconds: time of their transfers.
        joules: energy of their transfers.
        without: change of the objective if one of the two slices ran in the other's state (the better of the two
            ways); None where neither can.
        reason: why neither can; empty where one can.
    """

    source: int | None
    destination: int | None
    source_state: str
    destination_state: str
    tensors: tuple[str, ...]
    bytes: int
    seconds: float
    joules: float
    without: float | None
    reason: str = ""


@dataclass(frozen=True)
class PlanExplanation:
    """The explanation of a plan.

    Attributes:
        objective: the plan's objective.
        value: its value.
        busy_s: device -> seconds that it is busy.
        boundaries: the most expensive first.
        lifts: missing operators, the one that would save most first.
    """

    objective: str
    value: float
    busy_s: Mapping[str, float]
    boundaries: tuple[Boundary, ...]
    lifts: tuple[OperatorGain, ...]


def explain_layer(profile: Profile, plan: Plan, name: str) -> LayerExplanation:
    """Return a layer's cost on each device, the transfers it causes, and the effect of moving it alone.

    Args:
        profile: the profile that the plan was made from.
        plan: a plan of that profile.
        name: the layer's name, or the key of a node in it.

    Raises:
        UsageError: no layer and no node has that name.
        ModelError: the plan is not of this profile.
    """
    index = _find_layer(profile, name)
    return _explained(_Judged.of(profile, plan), index, moves=True)


def explain_layers(profile: Profile, plan: Plan, *, moves: bool = True) -> tuple[LayerExplanation, ...]:
    """Return the explanation of every layer, in the profile's order.

    Args:
        profile: the profile that the plan was made from.
        plan: a plan of that profile.
        moves: judge the moves of each layer too; it takes the simulator several runs for each layer and state.

    Raises:
        ModelError: the plan is not of this profile.
    """
    judged = _Judged.of(profile, plan)
    return tuple(_explained(judged, index, moves=moves) for index in range(len(profile.layers)))


@dataclass(frozen=True)
class _Judged:
    """A plan of a profile with the simulator's word on it."""

    profile: Profile
    plan: Plan
    table: CostTable
    proposal: Proposal
    timeline: Timeline

    @classmethod
    def of(cls, profile: Profile, plan: Plan) -> _Judged:
        proposal, table = proposal_of(profile, plan), cost_table(profile)
        return cls(profile, plan, table, proposal, simulate(table, proposal, plan.schedule))


def _explained(judged: _Judged, index: int, *, moves: bool) -> LayerExplanation:
    """Return one layer's explanation; no moves where they are not asked for."""
    profile, plan, table, proposal = judged.profile, judged.plan, judged.table, judged.proposal
    layer = profile.layers[index]
    number = next(k for k, placed in enumerate(proposal) if index in placed.layers)
    state = plan.slices[number].state
    device = device_of(state)
    shared = {device, *([HOST] if not table.rows.own_memory[_device_index(profile, device)] else [])}
    others = [number for number, name in enumerate(profile.states) if moves and name != state]
    moved = [layer_move(table, plan, proposal, index, other, judged.timeline) for other in others]
    return LayerExplanation(
        name=layer.name,
        index=index,
        state=state,
        slice_number=number,
        nodes=layer.nodes,
        op_types=layer.op_types,
        costs=tuple(_state_cost(profile, index, state) for state in profile.states),
        brought=tuple(t for t in plan.transfers if t.tensor in layer.inputs and t.destination in shared),
        sent=tuple(t for t in plan.transfers if t.tensor in layer.outputs),
        moves=tuple(sorted(moved, key=lambda move: (move.value is None, move.value or 0.0))),
    )


def explain_plan(profile: Profile, plan: Plan, time_limit_s: float = 10.0) -> PlanExplanation:
    """Return the boundaries of a plan and the operators that devices lack, ranked by what they cost.

    Args:
        profile: the profile that the plan was made from, under the same constraints.
        plan: a plan of that profile.
        time_limit_s: for planning again with the missing operators.

    Raises:
        ModelError: the plan is not of this profile.
    """
    proposal = proposal_of(profile, plan)
    table = cost_table(profile)
    timeline = simulate(table, proposal, plan.schedule)
    return PlanExplanation(
        objective=plan.objective,
        value=value(timeline, plan.objective),
        busy_s=dict(zip(table.device_names, timeline.load_s, strict=True)),
        boundaries=_boundaries(table, plan, proposal, timeline),
        lifts=operator_gains(profile, plan, value(timeline, plan.objective), time_limit_s),
    )


def proposal_of(profile: Profile, plan: Plan) -> Proposal:
    """Return the plan's slices as a proposal of the planner.

    Raises:
        ModelError: the plan is not of this profile: other layers, or states that it does not have.
    """
    states = {state: number for number, state in enumerate(profile.states)}
    hint = "Give the profile that the plan was made from."
    for item in plan.slices:
        if item.state not in states:
            raise ModelError(f"the plan runs layers in state '{item.state}', which the profile does not have", hint)
    if sorted(layer for item in plan.slices for layer in item.layers) != list(range(len(profile.layers))):
        raise ModelError(f"the plan's layers are not the {len(profile.layers)} layers of the profile", hint)
    return tuple(PlacedSlice(item.layers, states[item.state]) for item in plan.slices)


def _find_layer(profile: Profile, name: str) -> int:
    """Return the index of the layer with that name, or of the layer that holds the node."""
    for index, layer in enumerate(profile.layers):
        if layer.name == name:
            return index
    for index, layer in enumerate(profile.layers):
        if name in layer.nodes:
            return index
    known = [word for layer in profile.layers for word in (layer.name, *layer.nodes)]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else "The plan's table lists the layers."
    raise UsageError(f"no layer or node is called '{name}'", hint)


def _device_index(profile: Profile, name: str) -> int:
    return next(d for d, device in enumerate(profile.devices) if device.name == name)


def _state_cost(profile: Profile, index: int, state: str) -> StateCost:
    layer = profile.layers[index]
    cost = layer.cost.get(state)
    if cost is None:
        return StateCost(state, None, None, "", layer.reasons.get(state, "no cost in the profile"))
    reason = ""
    if layer.allowed is not None and device_of(state) not in layer.allowed:
        reason = f"only {', '.join(layer.allowed)} may run it"
    return StateCost(state, cost.seconds, cost.joules, cost.source, reason)


def _boundaries(table: CostTable, plan: Plan, proposal: Proposal, timeline: Timeline) -> tuple[Boundary, ...]:
    """Return the boundaries between slices, the most expensive first."""
    slice_of = {layer: k for k, placed in enumerate(proposal) for layer in placed.layers}
    held = [slice_of[layer] for layer in range(len(table.layer_names))]
    ends: dict[tuple[int, int], list[PaidTransfer]] = {}
    for copy in paid_transfers(table, proposal, held).copies:
        if copy.seconds > 0 or copy.joules > 0:
            ends.setdefault((copy.maker, _reader(table, held, copy, len(proposal))), []).append(copy)
    costly = sorted(ends.items(), key=lambda end: tuple(-sum(each) for each in _costs(end[1])))
    return tuple(
        _boundary(table, plan, proposal, timeline, pair, copies, is_tried=rank < MOST_TRIED)
        for rank, (pair, copies) in enumerate(costly)
    )


def _costs(copies: Sequence[PaidTransfer]) -> tuple[list[float], list[float]]:
    """Return the seconds and the joules of transfers."""
    return [copy.seconds for copy in copies], [copy.joules for copy in copies]


def _reader(table: CostTable, held: Sequence[int], copy: PaidTransfer, slice_count: int) -> int:
    """Return the slice that a transfer is for; ``slice_count`` for the model's outputs."""
    if copy.slice != copy.maker or copy.maker < 0:
        return copy.slice
    readers = [held[reader] for reader in table.consumers[copy.tensor] if held[reader] != copy.maker]
    return min(readers, default=slice_count)


def _boundary(
    table: CostTable,
    plan: Plan,
    proposal: Proposal,
    timeline: Timeline,
    pair: tuple[int, int],
    copies: Sequence[PaidTransfer],
    *,
    is_tried: bool,
) -> Boundary:
    """Return a boundary; with the change of the objective without it only where that is tried."""
    source, destination = pair
    seconds, joules = _costs(copies)
    tensors = dict.fromkeys(copy.tensor for copy in copies)
    without: float | None = None
    reason = "the model's inputs and outputs are at host"
    if source >= 0 and destination < len(proposal) and not is_tried:
        reason = f"not tried: only the {MOST_TRIED} most expensive are"
    elif source >= 0 and destination < len(proposal):
        without, reason = _removed(table, plan, proposal, timeline, pair)
    return Boundary(
        source=source if source >= 0 else None,
        destination=destination if destination < len(proposal) else None,
        source_state=HOST if source == HOST_MEMORY else plan.slices[source].state,
        destination_state=HOST if destination == len(proposal) else plan.slices[destination].state,
        tensors=tuple(table.tensor_names[tensor] for tensor in tensors),
        bytes=sum(table.rows.tensor_bytes[tensor] for tensor in tensors),
        seconds=sum(seconds),
        joules=sum(joules),
        without=without,
        reason=reason,
    )


def _removed(
    table: CostTable, plan: Plan, proposal: Proposal, timeline: Timeline, pair: tuple[int, int]
) -> tuple[float | None, str]:
    """Return the change of the objective if one of the two slices ran in the other's state, in the better way."""
    best: float | None = None
    reason = ""
    for moved, other in (pair, pair[::-1]):
        placed = PlacedSlice(proposal[moved].layers, proposal[other].state)
        tried = (*proposal[:moved], placed, *proposal[moved + 1 :])
        try:
            change = value(simulate(table, tried, plan.schedule), plan.objective) - value(timeline, plan.objective)
        except InfeasibleError as error:
            reason = reason or error.message
            continue
        best = change if best is None else min(best, change)
    return best, "" if best is not None else reason
