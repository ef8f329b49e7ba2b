"""Label setting over downward-closed sets of layers: the exact optimum, or every plan of the front.

A transition runs one more slice. What the rules of the rest depend on is a label's key: the layers done, where the
tensors still needed are, each device's last level, each begun group's device, and, where the request asks for it, the
devices used and the number of slices. What its cost depends on are numbers (``measures``). Of the labels with one key
those are kept that no other one is nowhere above; a label also goes where even the least that the rest can cost leads
to no better plan than one already known, or breaks a limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import meets
from mosaic_onnx.planner.core.simulate import simulate, switch_cost, value
from mosaic_onnx.planner.exhaustive.measures import Measures, Vector
from mosaic_onnx.planner.exhaustive.slice_options import SliceOptions, TooLargeError
from mosaic_onnx.planner.exhaustive.transfers import LiveTensor, Transfers

INF = float("inf")
STRICTLY = 1 - 1e-12
"""A plan must be below this part of the best one known to count as better."""
NO_DEVICE = -1


class Key(NamedTuple):
    """The facts that the rules of the rest of a plan depend on."""

    done: int
    tensors: tuple[LiveTensor, ...]
    levels: tuple[int, ...]
    """per device with switches that cost: the state of its last slice, or -1"""
    groups: tuple[int, ...]
    """per group: its device; -1 before its first layer and after its last"""
    used: int
    """devices that hold a slice, as bits; 0 where a device may hold several"""
    slice_count: int
    """up to the least number asked for"""


class Label(NamedTuple):
    """A plan of some layers."""

    vector: Vector
    slice: PlacedSlice | None
    before: Label | None

    @property
    def proposal(self) -> Proposal:
        """Return the slices in start order."""
        slices = []
        at: Label | None = self
        while at is not None and at.slice is not None:
            slices.append(at.slice)
            at = at.before
        return tuple(reversed(slices))


class Effort:
    """The effort that a search may still spend."""

    def __init__(self, transition_limit: int, until: float = INF) -> None:
        """Allow so many transitions, until ``time.monotonic()`` is past ``until``."""
        self.left, self.until = transition_limit, until

    def spend(self) -> None:
        """Count one transition.

        Raises:
            TooLargeError: it was one too many, or time is up.
        """
        self.left -= 1
        if self.left < 0 or (not self.left % 256 and time.monotonic() > self.until):
            raise TooLargeError


class Search:
    """One search of one table for one request."""

    def __init__(self, table: CostTable, request: Request, effort: Effort) -> None:
        """Prepare; ``known`` is the objective of the best plan offered, inf for none."""
        self.table, self.rows, self.request, self.effort = table, table.rows, request, effort
        self.measures = Measures(table, request)
        self.is_comparable = self.measures.is_comparable
        self.transfers = Transfers(table)
        self.options = SliceOptions(table, in_list_order=request.in_list_order, keep_all=not self.is_comparable)
        self.full = (1 << len(table.layer_names)) - 1
        self.members = self._members()
        self.switching = bool(table.switch_s.any() or table.switch_j.any() or table.layer_switches)
        self.least_count = min(request.min_slice_count, len(table.layer_names))
        self.best: Proposal | None = None
        self.known = INF
        self._next: dict[int, list[int]] = {}

    def offer(self, proposal: Proposal) -> None:
        """Keep a plan if it satisfies everything and is the best so far."""
        try:
            timeline = simulate(self.table, proposal, self.request.schedule)
            meets(self.table, self.request, proposal, timeline)
        except InfeasibleError:
            return
        figure = value(timeline, self.request.objective)
        if figure < self.known:
            self.best, self.known = proposal, figure

    def optimum(self, beam: int | None = None) -> Proposal | None:
        """Return the best plan; None where none satisfies everything.

        Args:
            beam: so many labels go on at each number of layers done, for a good plan in little time; None for all.

        Raises:
            TooLargeError: the effort was spent.
        """
        if beam is None and not self.is_comparable:
            self._deepen(self._start())
        else:
            for label in self._levels(beam):
                self.offer(label.proposal)
        return self.best

    def front(self) -> list[Proposal]:
        """Return the plans that no other one beats in all figures that the request depends on.

        Raises:
            TooLargeError: the effort was spent.
        """
        finals: list[Label] = []
        count = len(self.measures.criteria)
        for label in self._levels(None):
            _insert(finals, label._replace(vector=label.vector[:count]))
        return [label.proposal for label in sorted(finals, key=lambda label: label.vector)]

    def _start(self) -> tuple[Key, Label]:
        tensors = self.transfers.inputs()
        levels = (NO_DEVICE,) * (len(self.table.device_names) if self.switching else 0)
        key = Key(0, tensors, levels, (NO_DEVICE,) * len(self.members), 0, 0)
        return key, Label(self.measures.start(len(tensors)), None, None)

    def _levels(self, beam: int | None) -> Iterator[Label]:
        """Extend labels by numbers of layers done; yield those of all layers."""
        key, label = self._start()
        levels: list[dict[Key, list[Label]]] = [{} for _ in range(self.full.bit_count() + 1)]
        levels[0][key] = [label]
        for here in levels[:-1]:
            for key, labels in here.items() if beam is None else self._narrowed(here, beam):
                for after, longer in self._transitions(key, labels):
                    _insert(levels[after.done.bit_count()].setdefault(after, []), longer)
            here.clear()
        for key, labels in levels[-1].items():
            if key.slice_count >= self.least_count:
                yield from labels

    def _narrowed(self, here: dict[Key, list[Label]], beam: int) -> list[tuple[Key, list[Label]]]:
        """Return the most promising labels."""
        measures = self.measures
        ranked = sorted(
            (measures.value(measures.at_least(label.vector, key.done, key.tensors)), number, key, label)
            for number, (key, label) in enumerate((key, label) for key, labels in here.items() for label in labels)
        )
        return [(key, [label]) for _, _, key, label in ranked[:beam]]

    def _deepen(self, node: tuple[Key, Label]) -> None:
        """Try every plan that may still be better, depth first: where no label makes another needless."""
        key, label = node
        if key.done == self.full:
            if key.slice_count >= self.least_count:
                self.offer(label.proposal)
            return
        following = list(self._transitions(key, [label]))
        measures = self.measures
        least = [measures.value(measures.at_least(one.vector, after.done, after.tensors)) for after, one in following]
        for number in sorted(range(len(following)), key=least.__getitem__):
            if least[number] < self.known * STRICTLY:
                self._deepen(following[number])

    def _transitions(self, key: Key, labels: list[Label]) -> Iterator[tuple[Key, Label]]:
        measures, device_of = self.measures, self.rows.state_device
        for layers in self._next_sets(key.done):
            for state, device in enumerate(device_of):
                if self.request.one_slice_per_device and key.used >> device & 1:
                    continue
                options = self.options.of(layers, state)
                groups = self._groups(key.groups, layers, key.done | layers, device) if options else None
                if groups is None:
                    continue
                effect = self.transfers.effect(key.tensors, key.done, layers, state)
                levels = self._levels_after(key.levels, state, device)
                used = key.used | 1 << device if self.request.one_slice_per_device else 0
                count = min(key.slice_count + 1, self.least_count)
                after = Key(key.done | layers, effect.tensors, levels, groups, used, count)
                for option in options:
                    switch = self._switch(key.levels, state, device, option.order[0])
                    for label in labels:
                        self.effort.spend()
                        vector = measures.extend(label.vector, option, effect, device, switch)
                        if vector is not None and self._may_win(vector, after):
                            yield after, Label(vector, PlacedSlice(option.order, state), label)

    def _may_win(self, vector: Vector, key: Key) -> bool:
        figures = self.measures.at_least(vector, key.done, key.tensors)
        return self.measures.keeps_limits(figures) and (
            self.known == INF or self.measures.value(figures) < self.known * STRICTLY
        )

    def _next_sets(self, done: int) -> list[int]:
        """Return all sets of layers that may run next as one slice."""
        if done not in self._next:
            before, found, stack = self.options.before, set[int](), [0]
            while stack:
                held = stack.pop()
                for layer, needed in enumerate(before):
                    bit = 1 << layer
                    free = not (done | held) & bit and not needed & ~(done | held) and held | bit not in found
                    if free and self._is_neighbour(held, layer):
                        self.effort.spend()
                        found.add(held | bit)
                        stack.append(held | bit)
            self._next[done] = sorted(found)
        return self._next[done]

    def _is_neighbour(self, held: int, layer: int) -> bool:
        """Return whether the layer may join the set where slices hold neighbours of the list."""
        return not self.request.in_list_order or not held or held.bit_length() == layer

    def _members(self) -> list[int]:
        """Return per group its layers, as bits."""
        members: dict[int, int] = {}
        for layer, group in enumerate(self.rows.group):
            if group >= 0:
                members[group] = members.get(group, 0) | 1 << layer
        return [members[group] for group in sorted(members)]

    def _groups(self, groups: tuple[int, ...], layers: int, done: int, device: int) -> tuple[int, ...] | None:
        """Return the groups' devices after a slice; None where it would part a group."""
        after = list(groups)
        for number, members in enumerate(self.members):
            if members & layers:
                if after[number] not in (NO_DEVICE, device):
                    return None
                after[number] = NO_DEVICE if not members & ~done else device
        return tuple(after)

    def _levels_after(self, levels: tuple[int, ...], state: int, device: int) -> tuple[int, ...]:
        """Return the devices' last states after a slice; nothing where switches are free."""
        return (*levels[:device], state, *levels[device + 1 :]) if self.switching else levels

    def _switch(self, levels: tuple[int, ...], state: int, device: int, layer: int) -> tuple[float, float]:
        """Return what the switch before a slice that begins with a layer costs."""
        if not self.switching or levels[device] < 0:
            return 0.0, 0.0
        return switch_cost(self.table, levels[device], state, layer)


def _insert(labels: list[Label], label: Label) -> None:
    """Keep the label unless another is no worse; drop those that it is no worse than."""
    vector = label.vector
    for other in labels:
        if all(a <= b for a, b in zip(other.vector, vector, strict=True)):
            return
    labels[:] = [other for other in labels if not all(a <= b for a, b in zip(vector, other.vector, strict=True))]
    labels.append(label)
