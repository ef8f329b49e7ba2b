"""Exact sequential plans of small graphs: all orders, all slices, every feature of the profile format.

A label-setting search over downward-closed sets of layers. A transition runs one more slice. What the future depends on
is the key: the layers done, the places of the tensors that are still needed, each device's last level, each begun
group's device. Per key the labels that no other label dominates are kept: one or two costs, and for each device with a
``memory_bytes`` cap its parameters and its largest (workspace + activations) so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from mosaic_onnx.core.costs import CostTable
from mosaic_onnx.planner.core.lower_bounds import places_of_states, segment_floor
from mosaic_onnx.planner.core.memory import live_bytes
from mosaic_onnx.planner.core.objective_weights import Weighed
from mosaic_onnx.planner.core.orders import predecessors
from mosaic_onnx.planner.core.request import TOLERANCE

ORDER_LIMIT = 5040
"""Orders of one slice that are tried where its memory or a segment makes the order matter."""
PRUNED = 4
"""Part of the transitions, as one in so many, that pruning is trusted to leave."""
PAIRS = math.log2(3)
"""n sets that may have run are at least n**PAIRS pairs of one within another: so many where all layers are free."""

Run = tuple[tuple[int, ...], int]
"""The layers of a slice in its order, and its state."""


@dataclass(frozen=True)
class Found:
    """An optimal plan: its costs (one per criterion) and its slices in start order."""

    costs: tuple[float, ...]
    runs: tuple[Run, ...]


class TooLargeError(Exception):
    """The search would take too long; nothing is wrong with the graph."""


@dataclass(frozen=True)
class _Key:
    done: int
    tensors: tuple[tuple[int, int, int], ...]
    """(tensor, places as a bit set, state that made it) of each tensor that a layer yet to run reads."""
    levels: tuple[int, ...]
    groups: tuple[int, ...]


@dataclass(frozen=True)
class _Label:
    vector: tuple[float, ...]
    run: Run | None
    before: _Label | None


@dataclass(frozen=True)
class _Option:
    """One way to run a set of layers in a state."""

    order: tuple[int, ...]
    costs: tuple[float, ...]
    parameters: float
    scratch: float
    """workspace + activations, bytes"""


def search(
    table: CostTable, criteria: Sequence[Weighed], transition_limit: int = 200_000, upper: Sequence[float] = ()
) -> list[Found]:
    """All plans that no other plan dominates in the criteria (one plan where there is one criterion); may be none.

    Args:
        table: costs.
        criteria: the costs that count.
        transition_limit: how much is tried before the search gives up.
        upper: per criterion, plans that cost more need not be found; empty for no limit.

    Raises:
        TooLargeError: more sets and transitions than the limit, or more orders of one slice than ``ORDER_LIMIT``.
    """
    return _Search(table, criteria, transition_limit, upper).run()


class _Search:
    """The state of one search."""

    def __init__(
        self, table: CostTable, criteria: Sequence[Weighed], transition_limit: int, upper: Sequence[float]
    ) -> None:
        self.table = table
        self.criteria = criteria
        self.left = self.sets_left = transition_limit
        self.before = [sum(1 << maker for maker in makers) for makers in predecessors(table)]
        self.full = (1 << len(self.before)) - 1
        self.place = places_of_states(table).tolist()
        self.device = table.state_device.tolist()
        self.capped = [d for d in range(len(table.device_names)) if np.isfinite(table.memory_bytes[d])]
        self.switching = any(bool(weighed.switch.any()) for weighed in criteria)
        self.options: dict[tuple[int, int], list[_Option]] = {}
        self.readers = [sum(1 << reader for reader in readers) for readers in table.consumers]
        self.outputs = table.is_output.tolist()
        self.upper = [limit * (1 + TOLERANCE) for limit in upper]
        self.least = [segment_floor(table, weighed).min(axis=1).tolist() for weighed in criteria]
        """per criterion [L] the least that each layer costs"""
        self.rooms: dict[int, list[float]] = {}
        """layers done -> per criterion what may have been paid by then"""

    def run(self) -> list[Found]:
        self._refuse_hopeless()
        table = self.table
        inputs = [t for t in range(len(table.tensor_names)) if table.producer[t] < 0]
        tensors = tuple((t, 1, -1) for t in inputs if table.consumers[t])
        groups = (-1,) * (int(table.group.max(initial=-1)) + 1)
        start = _Key(0, tensors, (-1,) * len(table.device_names), groups)
        nothing = _Label((0.0,) * (len(self.criteria) + 2 * len(self.capped)), None, None)
        layers: list[dict[_Key, list[_Label]]] = [{} for _ in range(len(self.before) + 1)]
        layers[0][start] = [nothing]
        for here in layers[:-1]:
            for key, labels in here.items():
                for after, label in self._transitions(key, labels):
                    _insert(layers[after.done.bit_count()].setdefault(after, []), label)
            here.clear()
        finals: list[_Label] = []
        count = len(self.criteria)
        for labels in layers[-1].values():
            for label in labels:
                _insert(finals, _Label(label.vector[:count], label.run, label.before))
        finals.sort(key=lambda label: label.vector)
        return [Found(label.vector, _runs(label)) for label in finals]

    def _transitions(self, key: _Key, labels: list[_Label]) -> Iterator[tuple[_Key, _Label]]:
        for layers in self._next_sets(key.done):
            for state in range(len(self.place)):
                options = self._options(layers, state)
                groups = self._groups(key.groups, layers, self.device[state]) if options else None
                if groups is None:
                    continue
                copies, tensors = self._copies(key, layers, state)
                switch, levels = self._switch(key.levels, state)
                after = _Key(key.done | layers, tensors, levels, groups)
                room = self._room(after.done)
                extra = [a + b for a, b in zip(copies, switch, strict=True)]
                for option in options:
                    for label in labels:
                        self._count()
                        vector = self._extend(label.vector, option, extra, self.device[state])
                        if vector is not None and all(a <= b for a, b in zip(vector, room, strict=False)):
                            yield after, _Label(vector, (option.order, state), label)

    def _refuse_hopeless(self) -> None:
        """Do not begin what would pass the limit even if much of it is pruned.

        Raises:
            TooLargeError: the graph has too many sets of layers that may have run.
        """
        state_count = np.isfinite(self.table.layer_s).any(axis=0).sum()
        if (1 + len(self._next_sets(0))) ** PAIRS * state_count > PRUNED * self.left:
            raise TooLargeError

    def _next_sets(self, done: int) -> list[int]:
        """All sets of layers that may run next as one slice."""
        found, stack = set[int](), [0]
        while stack:
            held = stack.pop()
            for layer, needed in enumerate(self.before):
                bit = 1 << layer
                if not (done | held) & bit and not needed & ~(done | held) and held | bit not in found:
                    self.sets_left -= 1
                    if self.sets_left < 0:
                        raise TooLargeError
                    found.add(held | bit)
                    stack.append(held | bit)
        return sorted(found)

    def _room(self, done: int) -> list[float]:
        """Per criterion what a plan may have cost by now if it is to end within the upper limits."""
        if done not in self.rooms:
            left = list(_bits(self.full & ~done))
            pairs = zip(self.upper, self.least, strict=False)
            self.rooms[done] = [limit - sum([least[layer] for layer in left]) for limit, least in pairs]
        return self.rooms[done]

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooLargeError

    def _extend(
        self, vector: tuple[float, ...], option: _Option, extra: list[float], device: int
    ) -> tuple[float, ...] | None:
        """The label after one more slice; None where its device's memory does not hold it."""
        count = len(self.criteria)
        costs = [vector[i] + option.costs[i] + extra[i] for i in range(count)]
        memory = list(vector[count:])
        if device in self.capped:
            at = 2 * self.capped.index(device)
            memory[at] += option.parameters
            memory[at + 1] = max(memory[at + 1], option.scratch)
            if memory[at] + memory[at + 1] > self.table.memory_bytes[device]:
                return None
        return (*costs, *memory)

    def _groups(self, groups: tuple[int, ...], layers: int, device: int) -> tuple[int, ...] | None:
        after = list(groups)
        for layer in _bits(layers):
            group = int(self.table.group[layer])
            if group >= 0:
                if after[group] not in (-1, device):
                    return None
                after[group] = device
        return tuple(after)

    def _switch(self, levels: tuple[int, ...], state: int) -> tuple[list[float], tuple[int, ...]]:
        if not self.switching:
            return [0.0] * len(self.criteria), levels
        device = self.device[state]
        last = levels[device]
        cost = [float(weighed.switch[last, state]) if last >= 0 else 0.0 for weighed in self.criteria]
        return cost, (*levels[:device], state, *levels[device + 1 :])

    def _copies(self, key: _Key, layers: int, state: int) -> tuple[list[float], tuple[tuple[int, int, int], ...]]:
        """Bring what the slice reads and, from an ``io: host`` device, what others need; the tensors that live on."""
        table, device = self.table, self.device[state]
        own, keeps = 1 << self.place[state], not table.io_host[device]
        total = np.zeros(len(self.criteria))
        done = key.done | layers
        after = []
        for t, places, maker in key.tensors:
            reached = places
            if self.readers[t] & layers and not (places & own and (keeps or own == 1)):
                cost, reached = self._arrival(t, places, maker, state)
                total += cost
                if not keeps:
                    reached &= ~own | 1
            if self.readers[t] & ~done:
                after.append((t, reached, maker))
        for layer in _bits(layers):
            for t in table.layer_outputs[layer]:
                needed = bool(self.readers[t] & ~layers)
                places = own
                if self.outputs[t] or (needed and not keeps):
                    total += [float(weighed.to_host[t, state]) for weighed in self.criteria]
                    places = own | 1 if keeps else 1
                if self.readers[t] & ~done:
                    after.append((t, places, state))
        after.sort()
        return total.tolist(), tuple(after)

    def _arrival(self, t: int, places: int, maker: int, state: int) -> tuple[list[float], int]:
        own = 1 << self.place[state]
        if maker >= 0 and (maker, state) in self.table.direct_s:
            return [float(weighed.direct[maker, state][t]) for weighed in self.criteria], places | own
        cost = [0.0] * len(self.criteria)
        if not places & 1:
            cost = [float(weighed.to_host[t, maker]) for weighed in self.criteria]
        if own != 1:
            cost = [a + float(weighed.from_host[t, state]) for a, weighed in zip(cost, self.criteria, strict=True)]
        return cost, places | 1 | own

    def _options(self, layers: int, state: int) -> list[_Option]:
        """The ways to run these layers in this state within the slice's cap, none dominated by another."""
        if (layers, state) not in self.options:
            self.options[layers, state] = self._make_options(list(_bits(layers)), state)
        return self.options[layers, state]

    def _make_options(self, layers: list[int], state: int) -> list[_Option]:
        table, device = self.table, self.device[state]
        if not np.isfinite(table.layer_s[layers, state]).all():
            return []
        first, last = layers[0], layers[-1]
        segment = (first, last, state) if last - first + 1 == len(layers) else (-1, -1, -1)
        capped = np.isfinite(min(table.memory_bytes[device], table.slice_memory_bytes[device]))
        orders = [tuple(layers)]
        if len(layers) > 1 and capped and not table.activation_sum[device]:
            orders = self._orders(layers)
        elif segment in table.segments:  # all orders but the one that was measured are worth the same
            orders = list(islice(_topological_orders(layers, self.before, 0), 2))
        parameters = float(table.parameter_bytes[layers, state].sum())
        workspace = float(table.workspace_bytes[layers, state].max())
        options: list[_Option] = []
        for order in orders:
            measured = segment in table.segments and list(order) == layers
            costs = tuple(
                weighed.segments[segment]
                if measured
                else float(weighed.layer[layers, state].sum() + weighed.slice[device])
                for weighed in self.criteria
            )
            scratch = workspace + self._activations(order, state) if capped else 0.0
            if parameters + scratch <= table.slice_memory_bytes[device]:
                options.append(_Option(order, costs, parameters, scratch))
        return _undominated(options)

    def _orders(self, layers: list[int]) -> list[tuple[int, ...]]:
        found = list(islice(_topological_orders(layers, self.before, 0), ORDER_LIMIT + 1))
        if len(found) > ORDER_LIMIT:
            raise TooLargeError
        return found

    def _activations(self, order: tuple[int, ...], state: int) -> float:
        table = self.table
        if table.activation_sum[self.device[state]]:
            return float(table.activation_bytes[list(order), state].sum())
        return float(live_bytes(table, order))


def _undominated(options: list[_Option]) -> list[_Option]:
    """Those than which no other is as good in everything; of equal ones the first."""
    kept: list[tuple[tuple[float, ...], _Option]] = []
    for option in options:
        mine = (*option.costs, option.scratch)
        if any(all(a <= b for a, b in zip(theirs, mine, strict=True)) for theirs, _ in kept):
            continue
        kept = [each for each in kept if not all(a <= b for a, b in zip(mine, each[0], strict=True))]
        kept.append((mine, option))
    return [option for _, option in kept]


def _topological_orders(layers: list[int], before: list[int], done: int) -> Iterator[tuple[int, ...]]:
    """All orders of the layers in which none runs before what it reads; the ascending one comes first."""
    if not layers:
        yield ()
    waiting = sum(1 << layer for layer in layers)
    for layer in layers:
        if not before[layer] & waiting:
            for rest in _topological_orders([other for other in layers if other != layer], before, done | 1 << layer):
                yield (layer, *rest)


def _insert(labels: list[_Label], label: _Label) -> None:
    """Keep the label unless another is no worse; drop those that it is no worse than."""
    vector = label.vector
    for other in labels:
        if all(a <= b for a, b in zip(other.vector, vector, strict=True)):
            return
    labels[:] = [other for other in labels if not all(a <= b for a, b in zip(vector, other.vector, strict=True))]
    labels.append(label)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _runs(label: _Label) -> tuple[Run, ...]:
    runs = []
    at: _Label | None = label
    while at is not None and at.run is not None:
        runs.append(at.run)
        at = at.before
    return tuple(reversed(runs))
