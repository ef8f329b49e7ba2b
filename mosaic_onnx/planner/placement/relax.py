"""The best placement, by elimination where the graph is narrow enough, else by an integer program with a time limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Ints
from mosaic_onnx.planner.core.deadline import TimeUpError
from mosaic_onnx.planner.core.lower_bounds import possible_states, scratch_alone, segment_floor, useful_states
from mosaic_onnx.planner.core.objective_weights import Weighed
from mosaic_onnx.planner.core.request import MethodUnavailable
from mosaic_onnx.planner.placement import elimination
from mosaic_onnx.planner.placement import milp as linear
from mosaic_onnx.planner.placement.milp import SideConstraint
from mosaic_onnx.planner.placement.problem import Placement, placement, value

LEVELS_KEPT = 1 << 20
"""Elimination with all levels of a device (for switches) is tried up to this many entries of its largest table."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A placement and a proved lower bound of every sequential plan's weighed cost.

    Attributes:
        bound: the lower bound; inf where no plan exists.
        states: [L] states of the best placement found; None where none was found.
        how: the method, in words.
        exact: the bound is the cost of the placement.
        uncovered: what the bound does not charge in full, in words.
    """

    bound: float
    states: Ints | None
    how: str
    exact: bool
    uncovered: tuple[str, ...]

    @property
    def said(self) -> str:
        """Return how the bound was proved, and what it does not count in full."""
        return said(self.how, self.uncovered)


def said(how: str, uncovered: Sequence[str]) -> str:
    """Return how a bound was proved, and what it does not count in full."""
    return f"{how}; not counted in full: {', '.join(uncovered)}" if uncovered else how


def relax(table: CostTable, weighed: Weighed, time_limit_s: float, solver: str = "") -> Relaxed:
    """Return the best placement and the lower bound.

    Args:
        table: costs.
        weighed: the same costs, each as one number.
        time_limit_s: of all together. Where it is up before anything is proved about transfers, every layer is placed
            where it is cheapest (``cheapest_layers``).
        solver: ``elimination`` or ``milp``; empty picks what fits.

    Raises:
        MethodUnavailable: the named solver does not fit the graph.
    """
    until = time.monotonic() + time_limit_s
    try:
        return _relax(table, weighed, until, solver)
    except TimeUpError:
        return cheapest_layers(table, weighed)


def cheapest_layers(table: CostTable, weighed: Weighed) -> Relaxed:
    """Return every layer where it is cheapest, transfers left out: what is left where nothing else fits the time."""
    floor = np.where(possible_states(table), segment_floor(table, weighed), np.inf)
    bound = float(floor.min(axis=1, initial=np.inf).sum()) * (1 - 1e-12)
    uncovered = ("transfers", "slice overheads", "caps")
    return Relaxed(bound, floor.argmin(axis=1), "cheapest states", False, uncovered)


def _relax(table: CostTable, weighed: Weighed, until: float, solver: str) -> Relaxed:
    problem = placement(table, weighed, until=until)
    full = _all_levels(table, weighed, problem, until) if solver in ("", "elimination") else None
    if full is not None:
        return full
    if solver in ("", "elimination"):
        eliminated = elimination.solve_placement(problem, until=until)
        if eliminated is not None:
            return Relaxed(*eliminated, "variable elimination", True, problem.uncovered)
        if solver:
            raise MethodUnavailable("the graph is too wide for elimination")
    return _integer_program(problem, [], until - time.monotonic())


def relax_within(
    table: CostTable,
    criteria: Sequence[Weighed],
    limits: Sequence[float],
    *,
    time_limit_s: float,
) -> Relaxed:
    """Return the best placement under memory caps and limits, as an integer program.

    Args:
        table: costs.
        criteria: the costs to minimise, then those that are limited.
        limits: one per further criterion.
        time_limit_s: of the solver.
    """
    keep = useful_states(table, criteria)
    problems = [placement(table, weighed, keep) for weighed in criteria]
    sides = [SideConstraint(problem, limit) for problem, limit in zip(problems[1:], limits, strict=True)]
    sides += memory_sides(table, problems[0])
    return _integer_program(problems[0], sides, time_limit_s)


def memory_sides(table: CostTable, problem: Placement) -> list[SideConstraint]:
    """Return each device's cap on the parameters of all its layers (its scratch memory is left out)."""
    sides = []
    for device in np.flatnonzero(np.isfinite(table.memory_bytes)):
        weights = np.where(table.state_device == device, table.parameter_bytes, 0).astype(np.float64)
        unary = tuple(weights[layer, choices] for layer, choices in enumerate(problem.choices))
        links = {pair: np.zeros_like(costs) for pair, costs in problem.links.items()}
        hubs = tuple(replace(hub, arrival=hub.arrival * 0, to_host=hub.to_host * 0) for hub in problem.hubs)
        empty = replace(problem, unary=unary, links=links, hubs=hubs, constant=0.0)
        sides.append(SideConstraint(empty, float(table.memory_bytes[device])))
    return sides


def over_memory(table: CostTable, states: Ints) -> bool:
    """Return whether a placement breaks a device's cap however short its slices are."""
    if np.isinf(table.memory_bytes).all():
        return False
    layers, devices = np.arange(len(states)), table.state_device[states]
    used = np.bincount(devices, table.parameter_bytes[layers, states], minlength=len(table.device_names))
    scratch = np.zeros(len(used))
    np.maximum.at(scratch, devices, scratch_alone(table)[layers, states])
    return bool((used + scratch > table.memory_bytes).any())


def _all_levels(table: CostTable, weighed: Weighed, collapsed: Placement, until: float) -> Relaxed | None:
    """Elimination over all levels, where switches or overheads make them matter and the graph is narrow enough."""
    if not (weighed.switch.any() or weighed.slice.any()):
        return None
    keep = possible_states(table)
    if all(len(choices) == row.sum() for choices, row in zip(collapsed.choices, keep, strict=True)):
        return None
    problem = placement(table, weighed, keep, until)
    eliminated = elimination.solve_placement(problem, LEVELS_KEPT, until)
    if eliminated is None:
        return None
    return Relaxed(*eliminated, "variable elimination over all levels", True, problem.uncovered)


def _integer_program(problem: Placement, sides: Sequence[SideConstraint], time_limit_s: float) -> Relaxed:
    """HiGHS; the relaxation's bound stands in where time runs out before one is proved."""
    if any(len(choices) == 0 for choices in problem.choices):
        return Relaxed(float("inf"), None, "a layer that no device can hold", True, problem.uncovered)
    if not problem.choices:
        return Relaxed(problem.constant, np.zeros(0, dtype=np.int64), "nothing to place", True, problem.uncovered)
    begun = time.monotonic()
    model = linear.linear_model(problem, sides)
    solved = linear.solve_mixed(model, problem, time_limit_s - (time.monotonic() - begun))
    how = "integer program, HiGHS" + ("" if solved.optimal else ", stopped by the time limit")
    bound = min(solved.bound, value(problem, solved.states)) if solved.states is not None else solved.bound
    return Relaxed(bound, solved.states, how, solved.optimal, problem.uncovered)
