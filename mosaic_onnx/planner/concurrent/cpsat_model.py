"""A concurrent schedule as a CP-SAT model: which sets of layers are slices, in which state, and when each starts.

Times are whole units, rounded down, so the model's optimum is a lower bound, and exact up to the unit, where the sets
offered are enough (``offer_sets``) and nothing is left out. Left out are contention for copies, level switches, and
that the first reader's level prices a copy (the cheapest level does); leaving these out only lowers the makespan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.concurrent.tasks import Levels
from mosaic_onnx.planner.core.deadline import FOREVER, timed
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.orders import predecessors
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.planner.core.simulate import slice_cost

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

UNITS = 20_000_000
"""Whole units that the makespan to beat is cut into."""
ALL_SETS_LAYERS = 9
"""Up to so many layers every convex set may be a slice."""

LayerSet = tuple[int, ...]


def convex_sets(table: CostTable) -> list[LayerSet]:
    """Return all sets of layers such that no path leaves one and comes back."""
    count = len(table.layer_names)
    above = [0] * count
    for layer, makers in enumerate(predecessors(table)):
        for maker in makers:
            above[layer] |= above[maker] | 1 << maker
    found = []
    for size in range(1, count + 1):
        for layers in combinations(range(count), size):
            mask = sum(1 << layer for layer in layers)
            outside = [layer for layer in range(layers[0], layers[-1]) if not mask >> layer & 1]
            if not any(above[x] & mask and any(above[layer] >> x & 1 for layer in layers) for x in outside):
                found.append(layers)
    return found


@dataclass(frozen=True)
class _Candidate:
    """One set of layers that may be a slice."""

    layers: LayerSet
    start: cp_model.IntVar
    end: cp_model.IntVar
    on: dict[int, cp_model.IntVar]
    """state -> it is a slice in that state"""


class ConcurrentModel:
    """The model of one table with some sets of layers."""

    def __init__(
        self,
        table: CostTable,
        sets: Sequence[LayerSet],
        beat_s: float,
        bound_s: float,
        until: float = FOREVER,
    ) -> None:
        """Build it.

        Args:
            table: costs.
            sets: sets of layers that may be slices; every layer alone among them.
            beat_s: a makespan that is known to be reachable.
            bound_s: a proved lower bound.
            until: ``time.monotonic()`` at which to give up.

        Raises:
            TimeUpError: it took longer.
        """
        from ortools.sat.python import cp_model

        self.table, self.rows = table, table.rows
        self.unit_s = max(beat_s, 1e-30) / UNITS
        self.horizon = UNITS + 1
        self.model = cp_model.CpModel()
        self.candidates: list[_Candidate] = []
        self.holding: list[list[int]] = [[] for _ in table.layer_names]
        """[L] candidates that hold each layer"""
        self._add_sets(sets)
        layers = range(len(table.layer_names))
        self.finish = [self._finish(layer) for layer in timed(layers, until)]
        self.state_of = [self._states_of(layer) for layer in timed(layers, until)]
        """[L] state -> the layer runs in it"""
        self.device_of = [self._devices_of(layer) for layer in timed(layers, until)]
        """[L] device -> the layer runs there"""
        self._one_at_a_time()
        self.host_time: dict[int, cp_model.IntVar] = {}
        for candidate in timed(self.candidates, until):
            self._wait_for_inputs(candidate)
        self._keep_together()
        self._cap_memory()
        self.makespan = self.model.new_int_var(int(bound_s / self.unit_s), self.horizon, "makespan")
        self._end()
        self.model.minimize(self.makespan)

    def suggest(self, proposal: Proposal, slice_times: Sequence[tuple[float, float]]) -> None:
        """Start the search from a plan."""
        chosen = {tuple(sorted(placed.layers)): k for k, placed in enumerate(proposal)}
        for candidate in self.candidates:
            k = chosen.get(candidate.layers)
            for state, literal in candidate.on.items():
                self.model.add_hint(literal, int(k is not None and proposal[k].state == state))
            if k is not None:
                self.model.add_hint(candidate.start, int(slice_times[k][0] / self.unit_s))

    def proposal(self, solver: cp_model.CpSolver) -> Proposal:
        """Return the solver's plan, slices in an order in which none stands before what it reads."""
        chosen = [
            (solver.value(c.start), solver.value(c.end), c.layers, state)
            for c in self.candidates
            for state, literal in c.on.items()
            if solver.value(literal)
        ]
        waiting = sorted(chosen)
        before = predecessors(self.table)
        placed: list[PlacedSlice] = []
        done: set[int] = set()
        while waiting:
            ready = next(
                (item for item in waiting if all(m in done or m in item[2] for x in item[2] for m in before[x])),
                waiting[0],
            )
            waiting.remove(ready)
            placed.append(PlacedSlice(ready[2], ready[3]))
            done.update(ready[2])
        return tuple(placed)

    def _units(self, seconds: float) -> int:
        return int(min(seconds / self.unit_s, 2.0 * self.horizon))

    def _add_sets(self, sets: Sequence[LayerSet]) -> None:
        """Candidates with their intervals; in every layer exactly one of those that hold it is a slice."""
        levels = Levels(self.table)
        possible = possible_states(self.table)
        self.intervals: list[list[cp_model.IntervalVar]] = [[] for _ in self.table.device_names]
        for layers in sets:
            states = np.flatnonzero(possible[list(layers)].all(axis=0)).tolist()
            states = [state for state in states if self._fits(PlacedSlice(layers, state))]
            if states:
                self._add_set(layers, levels.worthwhile(layers, states))
        for holding in self.holding:
            self.model.add_exactly_one(literal for number in holding for literal in self.candidates[number].on.values())

    def _fits(self, placed: PlacedSlice) -> bool:
        device = self.rows.state_device[placed.state]
        cap = min(self.rows.slice_memory_bytes[device], self.rows.memory_bytes[device])
        return cap == float("inf") or slice_memory(self.table, placed).total <= cap

    def _add_set(self, layers: LayerSet, states: Sequence[int]) -> None:
        model = self.model
        start, end = model.new_int_var(0, self.horizon, ""), model.new_int_var(0, self.horizon, "")
        on = {}
        for state in states:
            literal = model.new_bool_var("")
            length = self._units(slice_cost(self.table, PlacedSlice(layers, state)).seconds)
            interval = model.new_optional_interval_var(start, length, end, literal, "")
            self.intervals[self.rows.state_device[state]].append(interval)
            on[state] = literal
        for layer in layers:
            self.holding[layer].append(len(self.candidates))
        self.candidates.append(_Candidate(layers, start, end, on))

    def _finish(self, layer: int) -> cp_model.IntVar:
        """Return the end of the slice that holds the layer."""
        holding = self.holding[layer]
        if len(holding) == 1:
            return self.candidates[holding[0]].end
        finish = self.model.new_int_var(0, self.horizon, "")
        for number in holding:
            for literal in self.candidates[number].on.values():
                self.model.add(finish == self.candidates[number].end).only_enforce_if(literal)
        return finish

    def _states_of(self, layer: int) -> dict[int, cp_model.IntVar]:
        by_state: dict[int, list[cp_model.IntVar]] = {}
        for number in self.holding[layer]:
            for state, literal in self.candidates[number].on.items():
                by_state.setdefault(state, []).append(literal)
        return {state: self._any(literals) for state, literals in by_state.items()}

    def _devices_of(self, layer: int) -> dict[int, cp_model.IntVar]:
        by_device: dict[int, list[cp_model.IntVar]] = {}
        for state, literal in self.state_of[layer].items():
            by_device.setdefault(self.rows.state_device[state], []).append(literal)
        return {device: self._any(literals) for device, literals in by_device.items()}

    def _any(self, literals: list[cp_model.IntVar]) -> cp_model.IntVar:
        """Return whether one of some literals, at most one of which holds, does."""
        if len(literals) == 1:
            return literals[0]
        held = self.model.new_bool_var("")
        self.model.add(sum(literals) == held)
        return held

    def _one_at_a_time(self) -> None:
        for intervals in self.intervals:
            self.model.add_no_overlap(intervals)

    def _wait_for_inputs(self, candidate: _Candidate) -> None:
        """A slice starts when all that it reads has arrived, by the way that its device and the maker's have."""
        inside = set(candidate.layers)
        tensors = dict.fromkeys(t for layer in candidate.layers for t in self.table.layer_inputs[layer])
        for tensor in tensors:
            maker = self.rows.producer[tensor]
            if maker in inside:
                continue
            for state, literal in candidate.on.items():
                if maker < 0:
                    self._after(candidate, literal, 0, self._from_host(tensor, state))
                else:
                    self._after_maker(candidate, literal, tensor, maker, state)

    def _after_maker(
        self, candidate: _Candidate, literal: cp_model.IntVar, tensor: int, maker: int, state: int
    ) -> None:
        rows, device = self.rows, self.rows.state_device[state]
        if not rows.own_memory[device]:
            self._after(candidate, literal, self._at_host(tensor), 0)
            return
        self._after(candidate, literal, self.finish[maker], 0)
        by_host = self._from_host(tensor, state)
        if rows.io_host[device]:
            self._after(candidate, literal, self._at_host(tensor), by_host)
            return
        straight = {
            a: seconds for a in self.state_of[maker] if (seconds := self._direct(a, device, tensor)) is not None
        }
        for source, on_source in self.state_of[maker].items():
            if rows.state_device[source] == device:
                continue
            if source in straight:
                self._after(candidate, [literal, on_source], self.finish[maker], straight[source])
            elif straight:
                self._after(candidate, [literal, on_source], self._at_host(tensor), by_host)
        if not straight:
            here = self.device_of[maker].get(device)
            away = [literal] if here is None else [literal, here.negated()]
            self._after(candidate, away, self._at_host(tensor), by_host)

    def _after(
        self,
        candidate: _Candidate,
        literals: cp_model.IntVar | list[cp_model.IntVar],
        moment: cp_model.IntVar | int,
        units: int,
    ) -> None:
        self.model.add(candidate.start >= moment + units).only_enforce_if(literals)

    def _at_host(self, tensor: int) -> cp_model.IntVar:
        """Return when host has the tensor."""
        if tensor not in self.host_time:
            maker = self.rows.producer[tensor]
            moment = self.model.new_int_var(0, 2 * self.horizon, "")
            for state, literal in self.state_of[maker].items():
                units = self._units(self.rows.to_host_s[tensor][state])
                self.model.add(moment >= self.finish[maker] + units).only_enforce_if(literal)
            self.host_time[tensor] = moment
        return self.host_time[tensor]

    def _from_host(self, tensor: int, state: int) -> int:
        """Return units from host to the state's device, at its cheapest level."""
        device = self.rows.state_device[state]
        levels = [s for s, one in enumerate(self.rows.state_device) if one == device]
        return self._units(min(self.rows.from_host_s[tensor][level] for level in levels))

    def _direct(self, source: int, device: int, tensor: int) -> int | None:
        """Return units of the cheapest way by a direct entry to the device; None where no level of it has one.

        Where only some levels have one, the way by host may be cheaper; then nothing is charged.
        """
        levels = [s for s, one in enumerate(self.rows.state_device) if one == device]
        ways = [self.table.straight_s(tensor, source, level) for level in levels]
        found = [seconds for seconds in ways if seconds is not None]
        if not found:
            return None
        return self._units(min(found)) if len(found) == len(levels) else 0

    def _keep_together(self) -> None:
        """Layers of a group are on one device."""
        groups: dict[int, list[int]] = {}
        for layer, group in enumerate(self.rows.group):
            if group >= 0:
                groups.setdefault(group, []).append(layer)
        for layers in groups.values():
            devices = {device for layer in layers for device in self.device_of[layer]}
            for device in devices:
                literals = [self.device_of[layer].get(device) for layer in layers]
                for literal in literals:
                    for other in literals:
                        if literal is not None:
                            self.model.add_implication(literal, other) if other is not None else self.model.add(
                                literal == 0
                            )

    def _cap_memory(self) -> None:
        """Parameters of all layers of a device and the rest of its largest slice fit into it."""
        for device, cap in enumerate(self.rows.memory_bytes):
            if cap == float("inf"):
                continue
            weights = [
                self.rows.parameter_bytes[layer][state] * literal
                for layer, states in enumerate(self.state_of)
                for state, literal in states.items()
                if self.rows.state_device[state] == device
            ]
            largest = self.model.new_int_var(0, int(cap), "")
            self.model.add(sum(weights) + largest <= int(cap))
            for candidate in self.candidates:
                for state, literal in candidate.on.items():
                    if self.rows.state_device[state] == device:
                        need = slice_memory(self.table, PlacedSlice(candidate.layers, state))
                        self.model.add(largest >= (need.workspace + need.activations) * literal)

    def _end(self) -> None:
        """The makespan: the last slice's end, or the last output's arrival at host."""
        for candidate in self.candidates:
            for literal in candidate.on.values():
                self.model.add(self.makespan >= candidate.end).only_enforce_if(literal)
        for tensor in self.rows.output_tensors:
            maker = self.rows.producer[tensor]
            for state, literal in self.state_of[maker].items() if maker >= 0 else ():
                units = self._units(self.rows.to_host_s[tensor][state])
                if units:
                    self.model.add(self.makespan >= self.finish[maker] + units).only_enforce_if(literal)
