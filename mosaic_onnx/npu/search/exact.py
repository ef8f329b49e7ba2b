"""The best mapping of a layer, proved: vectorised enumeration with branch and bound.

Two levels. A branch is an unrolling of the array; its bound is what the array and the buffer need at least with it
(one tile of everything), and DRAM at least with any tiles. Inside a branch all choices of tiles, tile order and
buffering are evaluated at once, of those whose own bound (bytes through the DRAM port, the fill before the array can
start) is below the best answer so far. What is left out costs no less than the answer, so the answer is the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mosaic_onnx.npu.costs.energy import movement_j, operations_j
from mosaic_onnx.npu.costs.evaluate import Cost, Objective, evaluate
from mosaic_onnx.npu.costs.latency import fixed_cycles, overlapped_cycles, serial_cycles
from mosaic_onnx.npu.costs.mapping import TILED, Mapping, Spatial, Stationary
from mosaic_onnx.npu.costs.on_chip import (
    Factors,
    Steps,
    TileCycles,
    buffer_bytes,
    factors_of,
    steps_of,
    tile_cycles,
    work_of,
)
from mosaic_onnx.npu.costs.tiling import Floats, Ints, Tilings, tilings_of
from mosaic_onnx.npu.hardware.description import DIMENSIONS, Hardware
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.certificate import Certificate
from mosaic_onnx.npu.search.space import Points, Restriction, Space, space_of

CHUNK = 16_384
"""Points evaluated at once: the best of them shrinks what is left of the list, which is sorted by bound."""


@dataclass(frozen=True)
class Found:
    """A mapping, what it costs, and what the search proves of it."""

    mapping: Mapping
    cost: Cost
    certificate: Certificate


def best_mapping(
    nest: LoopNest, hardware: Hardware, objective: Objective = "latency", restriction: Restriction | None = None
) -> Found:
    """Return the best mapping of the whole space, or of what a fixed dataflow leaves of it.

    Args:
        nest: the layer.
        hardware: the NPU.
        objective: what is made least; among equals, the mapping of least energy that was met.
        restriction: a fixed dataflow; None searches everything.

    Raises:
        InfeasibleError: not even the smallest tile fits the buffer.
    """
    space = space_of(nest, hardware, restriction)
    search = _Search(space, objective)
    search.run()
    return Found(search.mapping(), evaluate(nest, hardware, search.mapping()), search.certificate())


@dataclass(frozen=True)
class _Branch:
    """An unrolling with its bounds.

    Attributes:
        array_cycles: at least.
        array_bytes: at least between buffer and array, by stationary operand.
        bound: of the objective, over all tiles.
    """

    spatial: Spatial
    factors: Factors
    array_cycles: float
    array_bytes: dict[Stationary, float]
    bound: dict[Stationary, float]


class _Search:
    """The state of one search: the best answer so far and the counts of the certificate."""

    def __init__(self, space: Space, objective: Objective) -> None:
        self.space, self.objective = space, objective
        self.hardware, self.nest = space.hardware, space.nest
        self.operations_j = operations_j(self.nest, self.hardware)
        self.static_j_per_cycle = self.hardware.energy.static_w / self.hardware.clock_hz
        self.fixed = fixed_cycles(self.hardware)
        self.best = (np.inf, np.inf)
        self.answer: tuple[int, Spatial, Stationary] | None = None
        self.evaluated = 0
        self.pruned = {"array": 0, "tiles": 0}
        branches = self._bounded_branches()
        self.points, self.point_bound = self._sorted_points(branches)
        self.branches = branches

    def run(self) -> None:
        """Visit the branches from the most promising one; stop in each where no tile can improve the answer."""
        for branch in sorted(self.branches, key=lambda each: min(each.bound.values())):
            self._visit(branch)

    def _visit(self, branch: _Branch) -> None:
        """Evaluate all points of a branch that could improve the answer."""
        stationary = [each for each, bound in branch.bound.items() if bound < self.best[0]]
        size = len(self.points.tiling)
        self.pruned["array"] += (len(branch.bound) - len(stationary)) * size
        if not stationary:
            return
        least_bytes = min(branch.array_bytes.values())
        work = max(branch.array_cycles, least_bytes / self.hardware.buffer.bytes_per_cycle)
        start = looked_at = 0
        while start < (count := int(np.searchsorted(self.point_bound, self.best[0]))):
            stop = min(start + CHUNK, count)
            some = self.points.take(np.arange(start, stop))
            index = np.flatnonzero(self._bound_with(some, work, least_bytes) < self.best[0])
            if len(index):
                self._evaluate_some(branch, stationary, some.take(index), start + index)
            looked_at += len(index)
            start = stop
        self.pruned["tiles"] += (size - looked_at) * len(stationary)

    def _evaluate_some(self, branch: _Branch, stationary: list[Stationary], some: Points, index: Ints) -> None:
        """Compute the cost of points with each stationary operand and keep the best."""
        tilings = self.space.tilings.take(some.tiling)
        steps = steps_of(self.nest, tilings, branch.factors)
        tiles = tile_cycles(self.nest, tilings, branch.factors)
        for each in stationary:
            self._evaluate(branch, each, (index, some, tilings), steps, tiles)

    def _evaluate(
        self,
        branch: _Branch,
        stationary: Stationary,
        chosen: tuple[Ints, Points, Tilings],
        steps: Steps,
        tiles: TileCycles,
    ) -> None:
        """Compute the cost of points and keep the best."""
        index, some, tilings = chosen
        moved = buffer_bytes(self.nest, self.hardware, tilings, steps, branch.factors, stationary)
        work = work_of(self.nest, self.hardware, tilings, steps, tiles, moved)
        overlapped = overlapped_cycles(work, some.transfers)
        cycles = np.where(some.double_buffered, overlapped, serial_cycles(work, some.transfers)) + self.fixed
        joules = self._joules(some.dram_bytes, moved, cycles)
        value = self._value(cycles, joules)
        self.evaluated += len(index)
        least = np.flatnonzero(value == value.min())
        at = least[np.argmin(joules[least])]
        if (value[at], joules[at]) < self.best:
            self.best = (float(value[at]), float(joules[at]))
            self.answer = (int(index[at]), branch.spatial, stationary)

    def _joules(self, dram_bytes: Floats, array_bytes: Floats, cycles: Floats) -> Floats:
        moved = movement_j(self.hardware, dram_bytes, array_bytes)
        return self.operations_j + moved + cycles * self.static_j_per_cycle

    def _value(self, cycles: Floats, joules: Floats) -> Floats:
        return cycles if self.objective == "latency" else joules if self.objective == "energy" else cycles * joules

    def _bound_with(self, points: Points, work: float, array_bytes: float) -> Floats:
        """Return a bound for each point, given what the array needs at least."""
        moved = points.transfers
        overlapped = np.maximum(moved.fill + work + moved.drain, moved.all)
        cycles = np.where(points.double_buffered, overlapped, moved.all + work) + self.fixed
        return self._value(cycles, self._joules(points.dram_bytes, np.full_like(cycles, array_bytes), cycles))

    def _bounded_branches(self) -> list[_Branch]:
        """Return every unrolling with its bounds: whole loops in one tile, and the fewest bytes of any tiling."""
        whole = tilings_of(self.nest, {loop: self.nest.trip(loop) for loop in TILED})
        least_dram = float(self.space.points.dram_bytes.min())
        least_transfer = least_dram / self.hardware.dram.bytes_per_cycle
        each = [factors_of(spatial) for spatial in self.space.spatials]
        factors = {loop: np.array([one[loop] for one in each], dtype=np.int64) for loop in DIMENSIONS}
        steps = steps_of(self.nest, whole, factors)
        array_cycles = steps.cycles * float(self.nest.repeats)
        moved = {
            kept: np.broadcast_to(
                buffer_bytes(self.nest, self.hardware, whole, steps, factors, kept), array_cycles.shape
            )
            for kept in self.space.stationary
        }
        bounds = {}
        for kept, array_bytes in moved.items():
            buffer_cycles = array_bytes / self.hardware.buffer.bytes_per_cycle
            cycles = np.maximum(np.maximum(array_cycles, buffer_cycles), least_transfer) + self.fixed
            bounds[kept] = self._value(cycles, self._joules(np.full_like(cycles, least_dram), array_bytes, cycles))
        return [
            _Branch(
                spatial,
                each[at],
                float(array_cycles[at]),
                {kept: float(values[at]) for kept, values in moved.items()},
                {kept: float(values[at]) for kept, values in bounds.items()},
            )
            for at, spatial in enumerate(self.space.spatials)
        ]

    def _sorted_points(self, branches: list[_Branch]) -> tuple[Points, Floats]:
        """Return the points, those of the smallest bound first, and the bounds: with the best of any branch."""
        bandwidth = self.hardware.buffer.bytes_per_cycle
        array_bytes = min(min(branch.array_bytes.values()) for branch in branches)
        work = min(max(each.array_cycles, min(each.array_bytes.values()) / bandwidth) for each in branches)
        bound = self._bound_with(self.space.points, work, array_bytes)
        order = np.argsort(bound, kind="stable")
        return self.space.points.take(order), bound[order]

    def mapping(self) -> Mapping:
        """Return the answer."""
        assert self.answer is not None  # the space is never empty
        at, spatial, stationary = self.answer
        tiling = int(self.points.tiling[at])
        tiles = {loop: int(self.space.tilings.tile(loop)[tiling]) for loop in TILED}
        order = self.space.orders[int(self.points.order[at])]
        return Mapping(spatial, order, tiles, stationary, bool(self.points.double_buffered[at]))

    def certificate(self) -> Certificate:
        """Return the proof: everything was evaluated, or costs at least as much as the answer."""
        left_out = {why: count * self.space.array_choice_count for why, count in self.space.left_out.items()}
        return Certificate(self.evaluated, left_out | self.pruned, self.best[0], 0.0)
