"""Throughput by OR-tools' CP-SAT: which device each piece runs on, so that the largest load is least. Extra ``solver``.

Loads are those of ``loads``, counted at least: execution in the fastest state (lowered to what measured segments
allow), each crossing at its cheapest level, all rounded down to whole units. So the bound holds for every plan, and
the assignment is a good one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.deadline import part_of
from mosaic_onnx.planner.core.lower_bounds import possible_states, scratch_alone, segment_floor
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.core.ortools import available, new_solver
from mosaic_onnx.planner.core.request import Answer, MethodUnavailable, Proposal, Request
from mosaic_onnx.planner.search.simulated_search import best_of, polish
from mosaic_onnx.planner.throughput.loads import Loads, pieces_of
from mosaic_onnx.planner.throughput.method import slices_of, throughput

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

JUDGED = 3
"""So many times the seconds of judging the heuristics' plans are kept back for judging the solver's."""
SOLVER_SHARE = 0.8
"""Of the time that the heuristics leave, what the solver gets; the rest is for improving its plan."""
LATEST = 0.75
"""After this part of the time limit the model is not begun any more."""
UNITS_IN_ALL = 1 << 28
"""Whole units that all work on its slowest device is cut into.

With 2^36 and more, CP-SAT 9.15 was seen to prove optima that were too high; 2^32 and less were right.
"""


def throughput_cpsat(table: CostTable, request: Request) -> Answer:
    """Return the plan with the smallest largest device load that the solver finds in time, and its bound.

    Raises:
        MethodUnavailable: OR-tools is not installed.
        InfeasibleError: the solver proved that groups, pins and memory leave no plan.
    """
    if not available():
        raise MethodUnavailable("throughput-cpsat needs OR-tools", "pip install 'mosaic-onnx[solver]'")
    from ortools.sat.python import cp_model

    started = time.monotonic()
    pieces = pieces_of(table)
    heuristic = throughput(table, replace(request, time_limit_s=0.6 * request.time_limit_s))
    if time.monotonic() - started > LATEST * request.time_limit_s:
        return heuristic
    hint = _best_start(table, pieces, heuristic.proposals)
    model = _Model(table, pieces)
    model.suggest(hint)
    began_judging = time.monotonic()
    best = [best_of(table, request, heuristic.proposals)] if heuristic.proposals else []
    judging_s = time.monotonic() - began_judging
    deadline = started + request.time_limit_s - JUDGED * judging_s
    solver = new_solver(part_of(deadline, SOLVER_SHARE) - time.monotonic(), request.seed)
    status = solver.solve(model.model)
    if status == cp_model.INFEASIBLE:
        raise InfeasibleError(
            "no assignment of layers to devices keeps groups, pins and memory caps",
            "Relax a cap, a pin or a group.",
        )
    proposals = list(heuristic.proposals)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        found = slices_of(table, Loads(table, pieces, model.devices(solver)).layer_states())
        best = [polish(table, request, best_of(table, request, [*best, *found]), deadline)]
        proposals += found
    proposals = list(dict.fromkeys([*best, *proposals]))
    bound_s = solver.best_objective_bound * model.unit_s
    if heuristic.bound is not None and heuristic.bound >= bound_s:
        return Answer(tuple(proposals), heuristic.bound, heuristic.bound_method)
    return Answer(tuple(proposals), bound_s, "CP-SAT over assignments of layers to devices")


def _best_start(table: CostTable, pieces: Sequence[tuple[int, ...]], proposals: Sequence[Proposal]) -> list[int] | None:
    """Return [P] devices of the proposal with the smallest largest load; None where there is no proposal."""
    best: tuple[float, list[int]] | None = None
    for proposal in proposals:
        device = {layer: table.rows.state_device[placed.state] for placed in proposal for layer in placed.layers}
        device_of = [device[layers[0]] for layers in pieces]
        largest = max(Loads(table, pieces, device_of).seconds)
        if best is None or largest < best[0]:
            best = largest, device_of
    return None if best is None else best[1]


class _Model:
    """The solver's model; loads are whole numbers of ``unit_s``."""

    def __init__(self, table: CostTable, pieces: Sequence[tuple[int, ...]]) -> None:
        from ortools.sat.python import cp_model

        self.table, self.pieces = table, pieces
        self.device_count = len(table.device_names)
        self.piece_of = {layer: piece for piece, layers in enumerate(pieces) for layer in layers}
        self.direct = _direct(table)
        work = self._work()
        all_work = float(np.where(np.isfinite(work), work, 0.0).max(axis=1).sum())
        self.unit_s = max(all_work, 1e-30) / UNITS_IN_ALL
        self.model = cp_model.CpModel()
        self.on = [[self.model.new_bool_var("") for _ in range(self.device_count)] for _ in pieces]
        self.terms: list[list[tuple[cp_model.IntVar, int]]] = [[] for _ in range(self.device_count)]
        """[D] (column, units) that load it"""
        for piece in range(len(pieces)):
            self._assign(piece, work)
        self._cap_memory()
        for tensor in range(len(table.tensor_names)):
            self._copy(tensor)
        self._minimise_largest()

    def suggest(self, device_of: Sequence[int] | None) -> None:
        """Start the search from an assignment."""
        for piece, device in enumerate(device_of or ()):
            for other, column in enumerate(self.on[piece]):
                self.model.add_hint(column, int(other == device))

    def devices(self, solver: cp_model.CpSolver) -> list[int]:
        """Return [P] device of each piece in the solver's solution."""
        return [next(device for device, column in enumerate(row) if solver.value(column)) for row in self.on]

    def _load(self, device: int, column: cp_model.IntVar, seconds: float) -> None:
        self.terms[device].append((column, int(seconds / self.unit_s)))

    def _work(self) -> Floats:
        """Return [P, D] least execution, with the way to host of the model's outputs."""
        table = self.table
        layer_s = np.where(possible_states(table), segment_floor(table, weigh(table, LATENCY)), np.inf)
        for tensor in np.flatnonzero(table.is_output & (table.producer >= 0)):
            layer_s[table.producer[tensor]] += table.to_host_s[tensor]
        by_device = np.stack(
            [layer_s[:, table.state_device == device].min(axis=1) for device in range(self.device_count)], axis=1
        )
        return np.stack([by_device[list(layers)].sum(axis=0) for layers in self.pieces])

    def _assign(self, piece: int, work: Floats) -> None:
        """Each piece runs on exactly one device that can run it, and loads it."""
        self.model.add_exactly_one(self.on[piece])
        for device, column in enumerate(self.on[piece]):
            if np.isfinite(work[piece, device]):
                self._load(device, column, float(work[piece, device]))
            else:
                self.model.add(column == 0)

    def _cap_memory(self) -> None:
        """Parameters of all pieces of a device, and the scratch memory of each, by its leanest level, fit into it."""
        table = self.table
        scratch = scratch_alone(table)
        for device in np.flatnonzero(np.isfinite(table.memory_bytes)).tolist():
            states = table.state_device == device
            least, scratch_least = table.parameter_bytes[:, states].min(axis=1), scratch[:, states].min(axis=1)
            columns = [row[device] for row in self.on]
            needed = [int(least[list(layers)].sum()) for layers in self.pieces]
            cap = int(table.memory_bytes[device])
            largest = self.model.new_int_var(0, cap, "")
            weights = sum(bytes_ * column for bytes_, column in zip(needed, columns, strict=True))
            self.model.add(weights + largest <= cap)
            for column, layers in zip(columns, self.pieces, strict=True):
                self.model.add(largest >= int(scratch_least[list(layers)].max()) * column)

    def _copy(self, tensor: int) -> None:
        """A reader away from the maker loads its own device and the maker's, directly or by way of host."""
        table, rows = self.table, self.table.rows
        layer = rows.producer[tensor]
        maker = self.piece_of[layer] if layer >= 0 else -1
        readers = sorted({self.piece_of[reader] for reader in table.consumers[tensor]} - {maker})
        for device in range(self.device_count) if readers else ():
            if not rows.own_memory[device]:
                continue
            into = self._least(table.from_host_s, tensor, device)
            if into > 0:
                straight_from = [source for source, target in self._straight(tensor) if target == device]
                makers = [(maker, source) for source in (device, *straight_from)] if maker >= 0 else []
                self._pay(into, [device], [([(reader, device)], makers) for reader in readers])
            if maker >= 0:
                self._send(tensor, device, maker, readers)

    def _send(self, tensor: int, device: int, maker: int, readers: Sequence[int]) -> None:
        """Check what the maker's device pays for readers elsewhere."""
        out = self._least(self.table.to_host_s, tensor, device)
        straight_to = [target for source, target in self._straight(tensor) if source == device]
        if out > 0 and not self.table.rows.is_output[tensor]:
            near = (device, *straight_to)
            cases = [([(maker, device)], [(reader, target) for target in near]) for reader in readers]
            self._pay(out, [device], cases)
        for target in straight_to:
            seconds = float(self.direct[device, target][tensor])
            if seconds > 0:
                self._pay(seconds, [device, target], [([(maker, device), (reader, target)], []) for reader in readers])

    def _straight(self, tensor: int) -> list[tuple[int, int]]:
        """Return the pairs of devices between which the tensor may go directly."""
        return [pair for pair, seconds in self.direct.items() if seconds[tensor] < math.inf]

    def _pay(
        self,
        seconds: float,
        devices: Sequence[int],
        cases: Sequence[tuple[list[tuple[int, int]], list[tuple[int, int]]]],
    ) -> None:
        """Load the devices where in any case all of the first (piece, device) pairs hold and none of the second do."""
        paid = self.model.new_bool_var("")
        for present, absent in cases:
            self.model.add_bool_or(
                [paid]
                + [self.on[piece][device].negated() for piece, device in present]
                + [self.on[piece][device] for piece, device in absent]
            )
        for device in devices:
            self._load(device, paid, seconds)

    def _least(self, seconds: Floats, tensor: int, device: int) -> float:
        """Return the least over the device's states of seconds [T, S]."""
        return float(seconds[tensor, self.table.state_device == device].min())

    def _minimise_largest(self) -> None:
        loads = [[term for d in devices for term in self.terms[d]] for devices in self.table.one_at_a_time]
        totals = [sum(units for _, units in terms) for terms in loads]
        largest = self.model.new_int_var(0, max(totals, default=0), "")
        for terms in loads:
            self.model.add(sum(units * column for column, units in terms) <= largest)
        self.model.minimize(largest)


def _direct(table: CostTable) -> dict[tuple[int, int], Floats]:
    """Return (device, device) -> [T] the least seconds of a direct copy between their states; inf where there is none.

    Where only some levels go directly, going by way of host might be cheaper, so there it costs nothing.
    """
    device = table.state_device.tolist()
    found: dict[tuple[int, int], list[Floats]] = {}
    for (source, target), seconds in table.direct_s.items():
        found.setdefault((device[source], device[target]), []).append(seconds)
    least: dict[tuple[int, int], Floats] = {}
    for (source, target), columns in found.items():
        known = np.isfinite(columns)
        always = known.all(axis=0) & (len(columns) == device.count(source) * device.count(target))
        least[source, target] = np.where(known.any(axis=0) & ~always, 0.0, np.min(columns, axis=0))
    return least
