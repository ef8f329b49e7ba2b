"""The initial population: every baseline, exact plans under the loads that the others leave, whole models spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, product

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import slice_cost
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.scenarios.baselines import BASELINES
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.repair import Repair, fit_memory

_RESIDUAL_SWEEPS = 3
_MOST_LOAD = 0.9
_MOST_MAPPINGS = 20_000
_KEPT_MAPPINGS = 12


def baseline_seeds(instance: Instance) -> dict[str, Schedule]:
    """Return the schedule of every baseline that can run, by name."""
    seeds = {}
    for name, make in BASELINES.items():
        try:
            seeds[name] = make(instance)
        except InfeasibleError:
            continue
    return seeds


def with_orders(instance: Instance, proposals: Sequence[Proposal]) -> list[Schedule]:
    """Return the slices under fixed priorities: by earliest deadline, by most work, by least work."""
    deadline = [instance.groups[model.group].deadline_s for model in instance.models]
    work = [
        sum(slice_cost(model.table, placed).seconds for placed in proposal)
        for model, proposal in zip(instance.models, proposals, strict=True)
    ]
    models = range(len(proposals))
    orders = (
        tuple(sorted(models, key=lambda m: (deadline[m], work[m], m))),
        tuple(sorted(models, key=lambda m: (-work[m], m))),
        tuple(sorted(models, key=lambda m: (work[m], m))),
    )
    return [Schedule(tuple(proposals), order) for order in dict.fromkeys(orders)]


def residual_plans(repair: Repair, start: Sequence[Proposal]) -> list[tuple[Proposal, ...]]:
    """Return plans of least latency of one model after another, where each unit is slowed by the load of the others.

    A unit that the others keep busy for a share ρ of the time runs a model's slices about 1 / (1 − ρ) times as slowly.
    """
    instance = repair.instance
    proposals = list(start)
    found: list[tuple[Proposal, ...]] = []
    for _ in range(_RESIDUAL_SWEEPS):
        before = tuple(proposals)
        for m, model in enumerate(instance.models):
            load = _loads(instance, [*proposals[:m], (), *proposals[m + 1 :]])
            busiest = max(_loads(instance, proposals).max(), 1e-12)
            share = np.minimum(load / busiest, 1.0) * _MOST_LOAD
            proposals[m] = _plan_under(model.table, share[list(instance.unit_of_state)])
        try:
            found.append(fit_memory(instance, proposals, repair.options))
        except InfeasibleError:
            return found
        if tuple(proposals) == before:
            break
    return found


def _plan_under(table: CostTable, share: Floats) -> Proposal:
    """Return the plan of least latency where each state's device is busy for a share of the time."""
    slowed = replace(table, layer_s=table.layer_s / (1.0 - share), segments={})
    return solve(slowed, Request(method="interval")).proposal


def _loads(instance: Instance, proposals: Sequence[Proposal]) -> Floats:
    """Return [U] seconds of work in each second, at the periods of the scenario's file."""
    load = np.zeros(len(instance.unit_names))
    for model, proposal in zip(instance.models, proposals, strict=True):
        for placed in proposal:
            seconds = slice_cost(model.table, placed).seconds
            load[instance.unit_of_state[placed.state]] += seconds / instance.groups[model.group].period_s
    return load


def whole_model_mappings(repair: Repair) -> list[tuple[Proposal, ...]]:
    """Return ways to place each model whole on a device, those with the smallest largest load first.

    There are none where a model has to be cut. All ways are tried where they are few, else the first ones with each
    model's faster devices first.
    """
    instance = repair.instance
    options = []
    for m, model in enumerate(instance.models):
        layers = tuple(range(len(model.table.layer_names)))
        options.append(sorted(repair.options(m, layers), key=lambda option: option.seconds))
    ways = []
    for number, way in enumerate(islice(product(*options), _MOST_MAPPINGS)):
        load = [0.0] * len(instance.unit_names)
        for model, option in zip(instance.models, way, strict=True):
            load[option.unit] += option.seconds / instance.groups[model.group].period_s
        ways.append((max(load), number, way))
    kept = []
    for _, _, way in sorted(ways, key=lambda one: one[:2])[:_KEPT_MAPPINGS]:
        proposals = [
            (PlacedSlice(tuple(range(len(model.table.layer_names))), option.state),)
            for model, option in zip(instance.models, way, strict=True)
        ]
        try:
            kept.append(fit_memory(instance, proposals, repair.options))
        except InfeasibleError:
            continue
    return kept
