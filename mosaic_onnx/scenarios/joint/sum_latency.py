"""The plan of several models side by side with the least sum of their latencies.

All models begin at once; a model's latency is the end of its last slice or the arrival of its last output at host.
CP-SAT finds it exactly where single layers (slices cost nothing) or all convex sets of layers are offered as slices;
else its figure is the best that was found. Candidates from the planner are judged beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.concurrent.cpsat_method import offer_sets
from mosaic_onnx.planner.concurrent.cpsat_model import ConcurrentModel, LayerSet
from mosaic_onnx.planner.core.ortools import available, new_solver
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import Timeline, simulate
from mosaic_onnx.planner.core.transfers import HOST_MEMORY
from mosaic_onnx.planner.solve import solve

_MOST_COMBINATIONS = 2000


@dataclass(frozen=True)
class SumLatency:
    """The result of the search.

    Attributes:
        proposal: the slices of all models.
        timeline: the simulator's word on it.
        latencies_s: [M] when each model is done.
        bound_s: no plan's sum is below it.
        bound_method: how that was proved.
    """

    proposal: Proposal
    timeline: Timeline
    latencies_s: tuple[float, ...]
    bound_s: float
    bound_method: str

    @property
    def seconds(self) -> float:
        """Return the sum of the models' latencies."""
        return sum(self.latencies_s)


def least_sum_latency(
    table: CostTable, first_layers: Sequence[int], alone: Sequence[CostTable], request: Request
) -> SumLatency:
    """Search for the plan with the least sum of latencies.

    Args:
        table: costs of all models' layers, numbered through.
        first_layers: [M] index of each model's first layer.
        alone: [M] each model's own costs.
        request: its time limit and seed count.

    Raises:
        InfeasibleError: no plan satisfies the constraints.
    """
    own = [
        solve(one, Request(schedule="concurrent", time_limit_s=request.time_limit_s / 8 / len(alone))) for one in alone
    ]
    bound_s = sum(0.0 if one.plan.bound is None else one.plan.bound.value for one in own)
    bound_method = "sum of each model's bound alone"
    candidates = [solve(table, Request(schedule="concurrent", time_limit_s=request.time_limit_s / 4)).proposal]
    candidates += _combinations(alone, [one.proposal for one in own], first_layers)
    best = _best(table, first_layers, candidates)
    if best is None:
        raise InfeasibleError("no plan of all models satisfies the constraints")
    if available() and sum(best[1]) > bound_s * (1 + 1e-9):
        proposals, proved_s = _by_cpsat(table, first_layers, best, bound_s, request)
        if proved_s > bound_s:
            bound_s, bound_method = proved_s, "CP-SAT"
        best = _best(table, first_layers, [best[0], *proposals]) or best
    proposal, latencies = _joined(table, first_layers, best)
    timeline = simulate(table, proposal, "concurrent")
    return SumLatency(proposal, timeline, latencies, min(bound_s, sum(latencies)), bound_method)


def model_latencies(
    table: CostTable, proposal: Proposal, timeline: Timeline, first_layers: Sequence[int]
) -> tuple[float, ...]:
    """Return [M] when each model's last slice has ended and its last output is at host."""
    latest = [0.0] * len(first_layers)

    def model_of(layer: int) -> int:
        return max(m for m, first in enumerate(first_layers) if first <= layer)

    for placed, (_, end_s) in zip(proposal, timeline.slice_times, strict=True):
        for model in {model_of(layer) for layer in placed.layers}:
            latest[model] = max(latest[model], end_s)
    for copy, (_, end_s) in zip(timeline.copies, timeline.copy_times, strict=True):
        maker = table.rows.producer[copy.tensor]
        if copy.destination == HOST_MEMORY and table.rows.is_output[copy.tensor] and maker >= 0:
            latest[model_of(maker)] = max(latest[model_of(maker)], end_s)
    return tuple(latest)


def split_by_model(proposal: Proposal, first_layers: Sequence[int]) -> Proposal:
    """Cut slices that hold layers of several models: each model is a file of its own."""
    ends = [*first_layers[1:], math.inf]
    return tuple(
        PlacedSlice(layers, placed.state)
        for placed in proposal
        for first, end in zip(first_layers, ends, strict=True)
        if (layers := tuple(layer for layer in placed.layers if first <= layer < end))
    )


def _combinations(alone: Sequence[CostTable], own: Sequence[Proposal], first_layers: Sequence[int]) -> list[Proposal]:
    """Return each model's own plan or whole on one device, in every combination and every order of the models."""
    choices: list[list[Proposal]] = []
    for table, plan in zip(alone, own, strict=True):
        layers = tuple(range(len(table.layer_names)))
        whole = [(PlacedSlice(layers, state),) for state in range(len(table.state_names))]
        choices.append([plan, *whole])
    found = []
    for way in product(*choices):
        moved = [
            tuple(PlacedSlice(tuple(layer + first for layer in placed.layers), placed.state) for placed in plan)
            for plan, first in zip(way, first_layers, strict=True)
        ]
        found += [tuple(placed for m in order for placed in moved[m]) for order in permutations(range(len(moved)))]
        if len(found) > _MOST_COMBINATIONS:
            break
    return list(islice(found, _MOST_COMBINATIONS))


def _best(
    table: CostTable, first_layers: Sequence[int], candidates: Sequence[Proposal]
) -> tuple[Proposal, tuple[float, ...]] | None:
    """Return the candidate with the least sum, and its models' latencies; None where none can run."""
    best: tuple[Proposal, tuple[float, ...]] | None = None
    for candidate in candidates:
        split = split_by_model(candidate, first_layers)
        try:
            timeline = simulate(table, split, "concurrent")
        except InfeasibleError:
            continue
        latencies = model_latencies(table, split, timeline, first_layers)
        if best is None or sum(latencies) < sum(best[1]) * (1 - 1e-12):
            best = split, latencies
    return best


def _joined(
    table: CostTable, first_layers: Sequence[int], best: tuple[Proposal, tuple[float, ...]]
) -> tuple[Proposal, tuple[float, ...]]:
    """Join slices of one model that follow each other on a device, where that makes no sum larger."""
    proposal, latencies = best
    first = 0
    while first < len(proposal) - 1:
        state = proposal[first].state
        second = next((k for k in range(first + 1, len(proposal)) if proposal[k].state == state), None)
        trial = None
        if second is not None:
            both = PlacedSlice((*proposal[first].layers, *proposal[second].layers), state)
            joined = (*proposal[:first], both, *proposal[first + 1 : second], *proposal[second + 1 :])
            if split_by_model(joined, first_layers) == joined:
                trial = _best(table, first_layers, [joined])
        if trial is not None and sum(trial[1]) <= sum(latencies) * (1 + 1e-12):
            proposal, latencies = trial
        else:
            first += 1
    return proposal, latencies


def _by_cpsat(
    table: CostTable,
    first_layers: Sequence[int],
    best: tuple[Proposal, tuple[float, ...]],
    bound_s: float,
    request: Request,
) -> tuple[list[Proposal], float]:
    """Return the solver's plans, and the bound that it proves (0 where the sets offered may not be enough)."""
    from ortools.sat.python import cp_model

    sets, complete = offer_sets(table, [best[0]])
    ends = [*first_layers[1:], math.inf]
    within = [
        layers
        for layers in sets
        if any(first <= layers[0] and layers[-1] < end for first, end in zip(first_layers, ends, strict=True))
    ]
    model = _SumModel(table, within, sum(best[1]), bound_s, first_layers)
    solver = new_solver(request.time_limit_s / 2, request.seed)
    status = solver.solve(model.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return [], 0.0
    return [model.proposal(solver)], solver.best_objective_bound * model.unit_s if complete else 0.0


class _SumModel(ConcurrentModel):
    """The concurrent model whose figure is not the makespan but at least the sum of the models' latencies."""

    def __init__(
        self,
        table: CostTable,
        sets: Sequence[LayerSet],
        beat_s: float,
        bound_s: float,
        first_layers: Sequence[int],
    ) -> None:
        self.first_layers = first_layers
        super().__init__(table, sets, beat_s, bound_s)

    def _end(self) -> None:
        """Bind the figure: each model's latency is its last slice's end or its last output's arrival at host."""
        latencies = [self.model.new_int_var(0, 2 * self.horizon, "") for _ in self.first_layers]
        for candidate in self.candidates:
            for literal in candidate.on.values():
                latency = latencies[self._model_of(candidate.layers[0])]
                self.model.add(latency >= candidate.end).only_enforce_if(literal)
        for tensor in self.rows.output_tensors:
            maker = self.rows.producer[tensor]
            for state, literal in self.state_of[maker].items() if maker >= 0 else ():
                units = self._units(self.rows.to_host_s[tensor][state])
                latency = latencies[self._model_of(maker)]
                self.model.add(latency >= self.finish[maker] + units).only_enforce_if(literal)
        self.model.add(self.makespan >= sum(latencies))

    def _model_of(self, layer: int) -> int:
        return max(m for m, first in enumerate(self.first_layers) if first <= layer)
