"""Ground truth for small tables: every plan there is, simulated, and what each request's optimum among them is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import error_sum
from mosaic_onnx.planner.core.simulate import simulate
from tests.unit.planner.every_plan import orders

INF = float("inf")


@dataclass(frozen=True, eq=False)
class Truth:
    """Figures of every plan that can run; axis N, the plans."""

    proposals: tuple[Proposal, ...]
    sequential_s: NDArray[np.float64]
    concurrent_s: NDArray[np.float64]
    sequential_j: NDArray[np.float64]
    concurrent_j: NDArray[np.float64]
    load_s: NDArray[np.float64]
    error: NDArray[np.float64]
    slice_count: NDArray[np.int64]
    is_pipeline: NDArray[np.bool_]
    """no device holds two slices"""
    is_listed: NDArray[np.bool_]
    """every slice holds neighbours of the list of layers"""

    def values(self, request: Request) -> NDArray[np.float64]:
        """[N] the request's objective; inf for plans that break what it asks."""
        concurrent = request.schedule == "concurrent"
        seconds = self.concurrent_s if concurrent else self.sequential_s
        joules = self.concurrent_j if concurrent else self.sequential_j
        figures = {"latency": seconds, "throughput": self.load_s, "energy": joules, "edp": seconds * joules}
        kept = np.ones(len(seconds), dtype=np.bool_)
        for values, limit in (
            (seconds, request.deadline_s),
            (joules, request.budget_j),
            (self.error, request.max_error),
        ):
            if limit is not None:
                kept &= values <= limit * (1 + 1e-9)
        kept &= self.slice_count >= request.min_slice_count
        if request.max_slice_count is not None:
            kept &= self.slice_count <= request.max_slice_count
        if request.one_slice_per_device:
            kept &= self.is_pipeline
        if request.in_list_order:
            kept &= self.is_listed
        return np.where(kept, figures[request.objective], INF)

    def least(self, request: Request) -> float:
        """The optimum; inf where no plan satisfies the request."""
        return float(self.values(request).min(initial=INF))


def truth(table: CostTable, most: int = 200_000) -> Truth | None:
    """Simulate every plan; None where there are more than ``most``."""
    rows = []
    for count, proposal in enumerate(every_proposal(table)):
        if count >= most:
            return None
        try:
            one, other = simulate(table, proposal), simulate(table, proposal, "concurrent")
        except InfeasibleError:
            continue
        devices = [table.rows.state_device[placed.state] for placed in proposal]
        listed = all(p.layers == tuple(range(p.layers[0], p.layers[0] + len(p.layers))) for p in proposal)
        rows.append(
            (
                proposal,
                one.seconds,
                other.seconds,
                one.joules or 0.0,
                other.joules or 0.0,
                one.interval_seconds,
                error_sum(table, proposal),
                len(proposal),
                len(set(devices)) == len(devices),
                listed,
            )
        )
    columns = list(zip(*rows, strict=True)) if rows else [()] * 10
    return Truth(
        tuple(columns[0]),
        *(np.array(column, dtype=np.float64) for column in columns[1:7]),
        np.array(columns[7], dtype=np.int64),
        np.array(columns[8], dtype=np.bool_),
        np.array(columns[9], dtype=np.bool_),
    )


def every_proposal(table: CostTable) -> Iterator[Proposal]:
    """Every order, every cut, every state that can run the layers."""
    able = np.isfinite(table.layer_s)
    for order in orders(table):
        for cuts in product((False, True), repeat=len(order) - 1):
            slices: list[list[int]] = [[order[0]]]
            for layer, cut in zip(order[1:], cuts, strict=True):
                slices.append([layer]) if cut else slices[-1].append(layer)
            choices = [np.flatnonzero(able[layers].all(axis=0)).tolist() for layers in slices]
            for states in product(*choices):
                yield tuple(PlacedSlice(tuple(layers), state) for layers, state in zip(slices, states, strict=True))


Mode = Literal["sequential", "concurrent", "throughput"]


def random_request(rng: np.random.Generator, table: CostTable, known: Truth, mode: Mode) -> Request:
    """A request with objective, limits and demands drawn by chance; limits lie among what plans take."""
    objectives: tuple[Objective, ...] = ("throughput",)
    if mode != "throughput":
        objectives = ("latency", "energy", "edp") if table.layer_j is not None else ("latency",)
    schedule = mode if mode != "throughput" else str(rng.choice(["sequential", "concurrent"]))
    request = Request(objective=str(rng.choice(objectives)), schedule=schedule)  # type: ignore[arg-type]
    concurrent = schedule == "concurrent"
    if rng.random() < 0.25:
        request = replace(request, deadline_s=_limit(rng, known.concurrent_s if concurrent else known.sequential_s))
    if table.layer_j is not None and rng.random() < 0.25:
        request = replace(request, budget_j=_limit(rng, known.concurrent_j if concurrent else known.sequential_j))
    if table.layer_error is not None and rng.random() < 0.5:
        request = replace(request, max_error=_limit(rng, known.error))
    if rng.random() < 0.2:
        request = replace(request, one_slice_per_device=True)
    if rng.random() < 0.1:
        request = replace(request, min_slice_count=int(rng.integers(1, len(table.layer_names) + 1)))
    if rng.random() < 0.1:
        request = replace(request, in_list_order=True)
    if rng.random() < 0.1:
        request = replace(request, max_slice_count=max(int(rng.integers(1, 4)), request.min_slice_count))
    return request


def _limit(rng: np.random.Generator, values: NDArray[np.float64]) -> float:
    """A value of some plan, most often a small one, now and then one below all."""
    if not len(values):
        return 1.0
    ordered = np.sort(values)
    place = int(len(ordered) * rng.random() ** 3)
    return float(ordered[place]) * (0.999 if rng.random() < 0.1 else 1.0)
