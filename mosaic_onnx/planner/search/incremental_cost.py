"""A sequential plan with its costs kept up to date while it changes, so that a small change is judged in microseconds.

The costs are the simulator's, term by term: its own functions price a slice and its memory; a tensor's copies are
summed per tensor here instead of in the order in which they happen. The simulator has the last word on every plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.deadline import FOREVER, timed
from mosaic_onnx.planner.core.memory import SliceMemory, slice_memory
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.planner.core.simulate import slice_cost

INF = float("inf")


@dataclass(frozen=True)
class Change:
    """A change of a plan.

    Attributes:
        contents: what becomes of slices: their new layers and state, None where nothing is left.
        to: layer -> the slice that holds it from now on, for layers that change slice.
        touched: layers whose tensors may cost something else from now on.
        inserted_after: the slice after which ``NEW`` begins to exist; None where no slice is new.
    """

    contents: Mapping[int, PlacedSlice | None]
    to: Mapping[int, int]
    touched: Iterable[int]
    inserted_after: int | None = None


NEW = -2
"""The number of a slice that a change inserts, until the change is made."""
NOWHERE = -1
"""The "slice" that makes the model's inputs."""


@dataclass(frozen=True)
class Figures:
    """Seconds, and joules without idle power (0 where the table has none)."""

    seconds: float
    joules: float


@dataclass
class _Sum:
    seconds: float = 0.0
    joules: float = 0.0

    def add(self, figures: tuple[float, float], sign: float = 1.0) -> None:
        self.seconds += sign * figures[0]
        self.joules += sign * figures[1]


@dataclass
class _Plan:
    """The plan as it stands; slices bear numbers that they keep."""

    order: list[int]
    contents: dict[int, PlacedSlice]
    rank: dict[int, float] = field(default_factory=dict)


class _DeviceMemory:
    """Bytes that the slices of one device need."""

    def __init__(self) -> None:
        self.parameters = 0
        self.scratch: dict[int, int] = {}
        """slice -> workspace and activations"""
        self._largest: tuple[int, int] | None = (0, NOWHERE)
        """(bytes, slice) of the largest; None where it must be looked for"""

    def count(self, number: int, needs: SliceMemory, sign: int) -> None:
        """Add a slice (1), or take it away (-1)."""
        self.parameters += sign * needs.parameters
        if sign > 0:
            self.scratch[number] = needs.workspace + needs.activations
            if self._largest is not None:
                self._largest = max(self._largest, (self.scratch[number], number))
        else:
            del self.scratch[number]
            if self._largest is not None and self._largest[1] == number:
                self._largest = None

    def largest_scratch_without(self, numbers: Mapping[int, object]) -> int:
        """Return the largest workspace and activations of any slice but some."""
        if self._largest is None:
            self._largest = max(((bytes_, number) for number, bytes_ in self.scratch.items()), default=(0, NOWHERE))
        if self._largest[1] not in numbers:
            return self._largest[0]
        return max((bytes_ for number, bytes_ in self.scratch.items() if number not in numbers), default=0)


class IncrementalCost:
    """A plan that changes, and what it costs."""

    def __init__(self, table: CostTable, proposal: Proposal, until: float = FOREVER) -> None:
        """Sum up a plan; ``TimeUpError`` is raised where that takes longer than ``until``."""
        self.table = table
        self.rows = table.rows
        self.switching = bool(table.switch_s.any() or table.switch_j.any())
        caps = zip(self.rows.memory_bytes, self.rows.slice_memory_bytes, strict=True)
        self.capped = [min(pair) < INF for pair in caps]
        self.members: dict[int, list[int]] = {}
        for layer, group in enumerate(self.rows.group):
            self.members.setdefault(group, []).append(layer)
        self._spent: dict[PlacedSlice, tuple[float, float]] = {}
        self._memory: dict[PlacedSlice, SliceMemory] = {}
        self._plan = _Plan(list(range(len(proposal))), dict(enumerate(proposal)))
        self._renumber()
        self.slice_of = [NOWHERE] * len(table.layer_names)
        for number, (layers, _) in enumerate(proposal):
            for layer in layers:
                self.slice_of[layer] = number
        self._copied = [self._copies(tensor) for tensor in timed(range(len(table.tensor_names)), until)]
        self._device_memory = [_DeviceMemory() for _ in table.device_names]
        for number in timed(self._plan.order if any(self.capped) else (), until):
            self._hold(number, 1)
        total = _Sum(*self._switches(self._plan.order, {}))
        for figures in (*(self._execution(placed) for placed in proposal), *self._copied):
            total.add(figures)
        self.figures = Figures(total.seconds, total.joules)

    @property
    def proposal(self) -> Proposal:
        """Return the plan as it stands."""
        return tuple(self._plan.contents[number] for number in self._plan.order)

    @property
    def order(self) -> list[int]:
        """Return the slices' numbers in start order; not to be changed."""
        return self._plan.order

    @property
    def alive(self) -> Mapping[int, PlacedSlice]:
        """Return the slices that the plan has, by number."""
        return self._plan.contents

    def placed(self, number: int) -> PlacedSlice:
        """Return a slice's layers and state."""
        return self._plan.contents[number]

    def rank(self, number: int) -> float:
        """Return a figure that grows with the slice's place in start order."""
        return self._plan.rank[number]

    def judge(self, change: Change) -> Figures | None:
        """Return the plan's costs after a change that keeps a topological order; None where it could not run."""
        if not self._runs(change):
            return None
        plan, total = self._plan, _Sum(self.figures.seconds, self.figures.joules)
        for number, after in change.contents.items():
            if number != NEW:
                total.add(self._execution(plan.contents[number]), -1.0)
            if after is not None:
                total.add(self._execution(after))
        if self.switching:
            total.add(self._switches(plan.order, {}), -1.0)
            total.add(self._switches(self._order_after(change), change.contents))
        undo = self._set(change)
        for tensor in self._tensors(change.touched):
            total.add(self._copied[tensor], -1.0)
            total.add(self._copies(tensor))
        self._unset(change, undo)
        return Figures(total.seconds, total.joules)

    def make(self, change: Change, figures: Figures) -> None:
        """Make a change that ``judge`` has judged."""
        tensors = self._tensors(change.touched)
        order = self._order_after(change)
        for entry in change.contents if any(self.capped) else ():
            if entry != NEW:
                self._hold(entry, -1)
        self._set(change)
        number = max(self._plan.contents) + 1
        if change.inserted_after is not None:
            self._plan.contents[number] = self._plan.contents.pop(NEW)
            for layer, to in change.to.items():
                if to == NEW:
                    self.slice_of[layer] = number
        self._plan.order = [number if entry == NEW else entry for entry in order]
        self._plan.contents = {entry: self._plan.contents[entry] for entry in self._plan.order}
        for entry in change.contents if any(self.capped) else ():
            kept = number if entry == NEW else entry
            if kept in self._plan.contents:
                self._hold(kept, 1)
        self._renumber()
        for tensor in tensors:
            self._copied[tensor] = self._copies(tensor)
        self.figures = figures

    def _set(self, change: Change) -> tuple[dict[int, PlacedSlice | None], dict[int, int]]:
        """Make the change on slices and layers (not on the order); what was before comes back."""
        contents, slice_of = self._plan.contents, self.slice_of
        before = {number: contents.get(number) for number in change.contents}
        held = {layer: slice_of[layer] for layer in change.to}
        for number, after in change.contents.items():
            if after is not None:
                contents[number] = after
        for layer, number in change.to.items():
            slice_of[layer] = number
        if change.inserted_after is not None:
            self._plan.rank[NEW] = self._plan.rank[change.inserted_after] + 0.5
        return before, held

    def _unset(self, change: Change, undo: tuple[dict[int, PlacedSlice | None], dict[int, int]]) -> None:
        for number, before in undo[0].items():
            if before is None:
                self._plan.contents.pop(number, None)
            else:
                self._plan.contents[number] = before
        for layer, number in undo[1].items():
            self.slice_of[layer] = number

    def _order_after(self, change: Change) -> list[int]:
        order = [n for n in self._plan.order if change.contents.get(n, self._plan.contents[n]) is not None]
        if change.inserted_after is None:
            return order
        rank = self._plan.rank[change.inserted_after]
        place = next((i for i, number in enumerate(order) if self._plan.rank[number] > rank), len(order))
        return [*order[:place], NEW, *order[place:]]

    def _renumber(self) -> None:
        self._plan.rank = {number: float(place) for place, number in enumerate(self._plan.order)}

    def _tensors(self, layers: Iterable[int]) -> set[int]:
        inputs, outputs = self.table.layer_inputs, self.table.layer_outputs
        return {tensor for layer in layers for tensor in (*inputs[layer], *outputs[layer])}

    def _execution(self, placed: PlacedSlice) -> tuple[float, float]:
        known = self._spent.get(placed)
        if known is None:
            spent = slice_cost(self.table, placed)
            known = self._spent[placed] = (spent.seconds, spent.joules)
        return known

    def _copies(self, tensor: int) -> tuple[float, float]:
        """Return seconds and joules of all copies of one tensor."""
        rows, contents = self.rows, self._plan.contents
        maker = rows.producer[tensor]
        home = NOWHERE if maker < 0 else self.slice_of[maker]
        readers = {self.slice_of[reader] for reader in self.table.consumers[tensor]} - {home}
        needs_host = rows.is_output[tensor]
        if not readers and not needs_host:
            return 0.0, 0.0
        made_in = NOWHERE if home == NOWHERE else contents[home].state
        home_device = NOWHERE if home == NOWHERE else rows.state_device[made_in]
        total, reached = _Sum(), {home_device}
        for number in sorted(readers, key=self._plan.rank.__getitem__) if len(readers) > 1 else readers:
            state = contents[number].state
            device = rows.state_device[state]
            if not rows.own_memory[device]:
                needs_host = True
                continue
            if not rows.io_host[device]:
                if device in reached:
                    continue
                reached.add(device)
                straight = self.table.straight_s(tensor, made_in, state) if self.table.direct_s else None
                if straight is not None:
                    total.add((straight, float(self.table.direct_j[made_in, state][tensor])))
                    continue
            needs_host = True
            total.add((rows.from_host_s[tensor][state], rows.from_host_j[tensor][state]))
        if needs_host and home != NOWHERE and rows.own_memory[home_device]:
            total.add((rows.to_host_s[tensor][made_in], rows.to_host_j[tensor][made_in]))
        return total.seconds, total.joules

    def _switches(self, order: Iterable[int], contents: Mapping[int, PlacedSlice | None]) -> tuple[float, float]:
        """Return seconds and joules of all level switches, with these slices in place of those of the plan."""
        if not self.switching:
            return 0.0, 0.0
        rows, total = self.rows, _Sum()
        last: dict[int, int] = {}
        for number in order:
            state = (contents.get(number) or self._plan.contents[number]).state
            before = last.get(rows.state_device[state], state)
            last[rows.state_device[state]] = state
            total.add((rows.switch_s[before][state], rows.switch_j[before][state]))
        return total.seconds, total.joules

    def _runs(self, change: Change) -> bool:
        """Return whether states can run their new layers, groups hold together and caps are kept."""
        rows = self.rows
        for placed in change.contents.values():
            if placed is not None and any(rows.layer_s[layer][placed.state] == INF for layer in placed.layers):
                return False
        return self._groups_hold(change) and self._memory_holds(change)

    def _groups_hold(self, change: Change) -> bool:
        groups = {self.rows.group[layer] for layer in change.touched} - {-1}
        for group in groups:
            devices = set()
            for layer in self.members[group]:
                number = change.to.get(layer, self.slice_of[layer])
                placed = change.contents.get(number) or self._plan.contents[number]
                devices.add(self.rows.state_device[placed.state])
            if len(devices) > 1:
                return False
        return True

    def _memory_holds(self, change: Change) -> bool:
        rows, tight = self.rows, set()
        for placed in change.contents.values():
            if placed is None or not self.capped[rows.state_device[placed.state]]:
                continue
            device = rows.state_device[placed.state]
            if self._needs(placed).total > rows.slice_memory_bytes[device]:
                return False
            if rows.memory_bytes[device] < INF:
                tight.add(device)
        return all(self._device_holds(device, change) for device in tight)

    def _device_holds(self, device: int, change: Change) -> bool:
        held = self._device_memory[device]
        parameters, scratch = held.parameters, held.largest_scratch_without(change.contents)
        for number, after in change.contents.items():
            before = self._plan.contents.get(number)
            if before is not None and self.rows.state_device[before.state] == device:
                parameters -= self._needs(before).parameters
            if after is not None and self.rows.state_device[after.state] == device:
                needs = self._needs(after)
                parameters += needs.parameters
                scratch = max(scratch, needs.workspace + needs.activations)
        return parameters + scratch <= self.rows.memory_bytes[device]

    def _hold(self, number: int, sign: int) -> None:
        """Count a slice of the plan in its device's memory, or count it no more."""
        placed = self._plan.contents[number]
        device = self.rows.state_device[placed.state]
        if self.capped[device]:
            self._device_memory[device].count(number, self._needs(placed), sign)

    def _needs(self, placed: PlacedSlice) -> SliceMemory:
        known = self._memory.get(placed)
        if known is None:
            known = self._memory[placed] = slice_memory(self.table, placed)
        return known
