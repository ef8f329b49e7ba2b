"""The savings if a device could run an operator that it lacks: plan again with an assumed cost.

The assumed cost of a layer on a device is its time where the plan runs it, times a ratio: the median ratio of times
in the two states, over layers that run in both. Layers of the same operators count where there are any, else all
layers do; ``OperatorGain.assumed`` says which.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import TOLERANCE, Request
from mosaic_onnx.planner.core.simulate import value
from mosaic_onnx.planner.solve import solve

MOST_TRIED = 12
"""The most missing operators that are tried: those whose layers take longest in the plan."""
LIMIT_EACH_S = 3.0
"""Time limit of each planning."""


@dataclass(frozen=True)
class OperatorGain:
    """The savings if a device had one missing operator.

    Attributes:
        operator: the operator types that the device lacks (``Pad``; several of one layer joined by `` + ``).
        device: the device that lacks them.
        layers: names of the layers that it could then run.
        change: change of the objective against the better of the plan and a new plan of equal effort; negative is
            better.
        seconds: change of the seconds, likewise.
        joules: change of the joules, likewise; None where there are none.
        assumed: the source of the assumed cost, in words.
    """

    operator: str
    device: str
    layers: tuple[str, ...]
    change: float
    seconds: float
    joules: float | None
    assumed: str


@dataclass(frozen=True)
class MissingOperator:
    """Layers that a device cannot run because it lacks the same operators.

    Attributes:
        operator: the operator types, in words.
        device: the device's name.
        layers: indices of the layers.
    """

    operator: str
    device: str
    layers: tuple[int, ...]


@dataclass(frozen=True)
class _Ratio:
    """The ratios of a layer's time and energy in one state to those in another, and their source in words."""

    seconds: float
    joules: float | None
    basis: str


def operator_gains(profile: Profile, plan: Plan, value_now: float, time_limit_s: float) -> tuple[OperatorGain, ...]:
    """Return the missing operators that would reduce the objective, the largest saving first.

    Args:
        profile: what the plan was made from, under the same constraints.
        plan: the plan.
        value_now: its objective's value.
        time_limit_s: for all planning together.
    """
    state_of = {layer: item.state for item in plan.slices for layer in item.layers}
    missing = sorted(_missing(profile), key=lambda one: -_seconds_now(profile, state_of, one))[:MOST_TRIED]
    if not missing:
        return ()
    deadline = time.monotonic() + time_limit_s
    request = replace(request_of(plan), time_limit_s=min(LIMIT_EACH_S, time_limit_s / (len(missing) + 1)))
    # A new plan of equal effort, so that the gain of a longer search is not attributed to an operator.
    now, now_s, now_j = value_now, plan.predicted.seconds, plan.predicted.joules
    anew = _best(profile, request)
    if anew[0] < now:
        now, now_s, now_j = anew
    found = []
    for one in missing:
        lifted, assumed = with_operators(profile, state_of, one)
        if lifted is None or time.monotonic() > deadline:
            continue
        figure, seconds, joules = _best(lifted, request)
        if figure < now * (1 - 1e3 * TOLERANCE):
            found.append(
                OperatorGain(
                    operator=one.operator,
                    device=one.device,
                    layers=tuple(profile.layers[layer].name for layer in one.layers),
                    change=figure - now,
                    seconds=seconds - now_s,
                    joules=None if joules is None or now_j is None else joules - now_j,
                    assumed=assumed,
                )
            )
    return tuple(sorted(found, key=lambda lift: lift.change))


def request_of(plan: Plan) -> Request:
    """Return the planner's request, as far as a plan file tells it."""
    demands = plan.constraints
    deadline, budget = demands.get("deadline_s"), demands.get("budget_j")
    most = demands.get("max_slice_count")
    return Request(
        objective=plan.objective,
        schedule=plan.schedule,
        deadline_s=deadline if isinstance(deadline, float) else None,
        budget_j=budget if isinstance(budget, float) else None,
        one_slice_per_device=bool(demands.get("one_slice_per_device")),
        max_slice_count=most if isinstance(most, int) else None,
    )


def _best(profile: Profile, request: Request) -> tuple[float, float, float | None]:
    """Return the objective, seconds and joules of the best plan; inf where none is found."""
    try:
        timeline = solve(cost_table(profile), request).timeline
    except InfeasibleError:
        return float("inf"), float("inf"), None
    return value(timeline, request.objective), timeline.seconds, timeline.joules


def _missing(profile: Profile) -> Iterable[MissingOperator]:
    """Return the layers that a device is allowed to run but cannot, grouped by device and missing operators."""
    for device in profile.devices:
        able = {op for layer in profile.layers if _runs(layer, device.states) is not None for op in layer.op_types}
        found: dict[str, list[int]] = {}
        for index, layer in enumerate(profile.layers):
            allowed = layer.allowed is None or device.name in layer.allowed
            if allowed and _runs(layer, device.states) is None:
                lacking = [op for op in dict.fromkeys(layer.op_types) if op not in able]
                operator = " + ".join(lacking or dict.fromkeys(layer.op_types)) or layer.name
                found.setdefault(operator, []).append(index)
        for operator, layers in found.items():
            yield MissingOperator(operator, device.name, tuple(layers))


def _runs(layer: ProfileLayer, states: Iterable[str]) -> Cost | None:
    """Return its cost in the first state that can run it."""
    return next((cost for state in states if (cost := layer.cost.get(state)) is not None), None)


def _seconds_now(profile: Profile, state_of: dict[int, str], missing: MissingOperator) -> float:
    """Return the seconds of the layers in the plan."""
    costs = [profile.layers[layer].cost.get(state_of[layer]) for layer in missing.layers]
    return sum(cost.seconds for cost in costs if cost is not None)


def with_operators(profile: Profile, state_of: dict[int, str], missing: MissingOperator) -> tuple[Profile | None, str]:
    """Return the profile with assumed costs, and their source; None where the device's speed is unknown.

    Args:
        profile: costs as they are.
        state_of: the state that runs each layer in a plan; the assumed costs are ratios of theirs.
        missing: the layers that the device is to run, and the device.
    """
    device = next(device for device in profile.devices if device.name == missing.device)
    layers = list(profile.layers)
    assumed = ""
    for index in missing.layers:
        layer, here = layers[index], state_of[index]
        own = layer.cost[here]
        costs = dict(layer.cost)
        for state in device.states:
            ratio = _ratio(profile, layer, state, here)
            if ratio is None or own is None:
                continue
            joules = None if own.joules is None or ratio.joules is None else own.joules * ratio.joules
            costs[state] = replace(own, seconds=own.seconds * ratio.seconds, joules=joules, source="modelled")
            assumed = assumed or f"{ratio.seconds:.3g} × its time in {here}, {ratio.basis}"
        if any(state in costs and costs[state] is not None for state in device.states):
            layers[index] = replace(layer, cost=costs)
    return (replace(profile, layers=tuple(layers)), assumed) if assumed else (None, "")


def _ratio(profile: Profile, layer: ProfileLayer, state: str, here: str) -> _Ratio | None:
    """Return the median ratio of a state to ``here``, over layers of the same operators, else over all in both."""
    both: list[tuple[ProfileLayer, Cost, Cost]] = []
    for other in profile.layers:
        there, own = other.cost.get(state), other.cost.get(here)
        if there is not None and own is not None and own.seconds > 0:
            both.append((other, there, own))
    alike = [item for item in both if item[0].op_types == layer.op_types]
    chosen = alike or both
    if not chosen:
        return None
    seconds = statistics.median(there.seconds / own.seconds for _, there, own in chosen)
    energies = [there.joules / own.joules for _, there, own in chosen if there.joules is not None and own.joules]
    kind = "of its operators " if alike else ""
    basis = f"the median of {len(chosen)} layers {kind}that run in both"
    return _Ratio(seconds, statistics.median(energies) if energies else None, basis)
