"""The ways to run one set of layers as a slice in one state: orders, execution costs, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.memory import live_bytes
from mosaic_onnx.planner.core.orders import predecessors
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.planner.core.simulate import slice_cost

INF = float("inf")
ORDER_LIMIT = 5040
"""Orders of one measured slice that are tried."""
PEAK_LAYERS = 14
"""Slices of more layers are not searched for the order with the smallest live memory."""


class TooLargeError(Exception):
    """The search would take longer than it may; nothing is wrong with the table."""


class SliceOption(NamedTuple):
    """One way to run a set of layers in a state."""

    order: tuple[int, ...]
    seconds: float
    joules: float
    parameters: int
    """bytes"""
    scratch: int
    """bytes of workspace and activations; 0 on devices without caps"""
    error: float


class SliceOptions:
    """The options of every set of layers and state, made when first asked for."""

    def __init__(self, table: CostTable, *, in_list_order: bool, keep_all: bool) -> None:
        """Prepare.

        Args:
            table: costs.
            in_list_order: slices hold neighbours of the list of layers, in its order.
            keep_all: keep options that are slower than another one, which is right where slower slices may lead to a
                shorter schedule (transfers that wait for one another).
        """
        self.table, self.rows = table, table.rows
        self.in_list_order, self.keep_all = in_list_order, keep_all
        self.before = [sum(1 << maker for maker in makers) for makers in predecessors(table)]
        self._known: dict[tuple[int, int], list[SliceOption]] = {}

    def of(self, layers: int, state: int) -> list[SliceOption]:
        """Return the options of a set of layers (as bits) in a state; empty where it cannot run there."""
        if (layers, state) not in self._known:
            self._known[layers, state] = self._make(list(bits(layers)), state)
        return self._known[layers, state]

    def _make(self, layers: list[int], state: int) -> list[SliceOption]:
        rows, device = self.rows, self.rows.state_device[state]
        if any(rows.layer_s[layer][state] == INF for layer in layers):
            return []
        cap = min(rows.memory_bytes[device], rows.slice_memory_bytes[device])
        parameters = sum(rows.parameter_bytes[layer][state] for layer in layers)
        errors = self.table.layer_error
        error = 0.0 if errors is None else float(errors[layers, state].sum())
        options = []
        for order in self._orders(layers, state, live=cap < INF and not rows.activation_sum[device]):
            spent = slice_cost(self.table, PlacedSlice(order, state))
            scratch = self._scratch(order, state) if cap < INF else 0
            if parameters + scratch <= cap:
                options.append(SliceOption(order, spent.seconds, spent.joules, parameters, scratch, error))
        if self.keep_all:
            return options
        if not self.table.layer_switches:
            return _undominated(options)
        firsts = dict.fromkeys(option.order[0] for option in options)
        return [kept for first in firsts for kept in _undominated([one for one in options if one.order[0] == first])]

    def _orders(self, layers: list[int], state: int, *, live: bool) -> list[tuple[int, ...]]:
        """The orders that may be best: the list's; where a segment or live memory tells orders apart, others too."""
        listed = tuple(layers)
        if self.in_list_order or len(layers) == 1:
            return [listed]
        measured = (layers[0], layers[-1], state) in self.table.segments and layers[-1] - layers[0] + 1 == len(layers)
        if self.table.layer_switches:  # what a switch costs hangs on the first layer
            found = list(islice(topological_orders(layers, self.before), ORDER_LIMIT + 1))
        elif not measured:
            return [self._smallest_peak(listed)] if live else [listed]
        else:
            found = list(islice(topological_orders(layers, self.before), ORDER_LIMIT + 1 if live else 2))
        if len(found) > ORDER_LIMIT:
            raise TooLargeError
        return found

    def _scratch(self, order: tuple[int, ...], state: int) -> int:
        rows = self.rows
        workspace = max(rows.workspace_bytes[layer][state] for layer in order)
        if rows.activation_sum[rows.state_device[state]]:
            return workspace + sum(rows.activation_bytes[layer][state] for layer in order)
        return workspace + live_bytes(self.table, order)

    def _smallest_peak(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Return the order whose largest sum of live tensors is smallest, by a program over sets of layers done."""
        if len(layers) > PEAK_LAYERS:
            raise TooLargeError
        inside = sum(1 << layer for layer in layers)
        live = _LiveBytes(self.table, layers, inside)

        @cache
        def best(done: int) -> tuple[float, tuple[int, ...]]:
            if done == inside:
                return 0, ()
            found: tuple[float, tuple[int, ...]] = (INF, ())
            for layer in layers:
                if not done >> layer & 1 and not self.before[layer] & inside & ~done:
                    peak, rest = best(done | 1 << layer)
                    peak = max(peak, live.at(done, layer))
                    if peak < found[0]:
                        found = peak, (layer, *rest)
            return found

        return best(0)[1]


class _LiveBytes:
    """Bytes of tensors that are live while one layer of a slice runs, given the layers that ran before."""

    def __init__(self, table: CostTable, layers: Sequence[int], inside: int) -> None:
        rows = table.rows
        self.bytes = rows.tensor_bytes
        self.makes = table.layer_outputs
        self.external: list[tuple[int, int]] = []
        """(tensor, its readers inside) of what comes from outside"""
        self.internal: list[tuple[int, int, int]] = []
        """(tensor, its maker, its readers inside; all bits where it lives to the end)"""
        read = {t for layer in layers for t in table.layer_inputs[layer]}
        made = {t for layer in layers for t in table.layer_outputs[layer]}
        for tensor in read - made:
            self.external.append((tensor, sum(1 << c for c in table.consumers[tensor]) & inside))
        for tensor in made:
            readers = sum(1 << c for c in table.consumers[tensor])
            lasts = rows.is_output[tensor] or readers & ~inside
            self.internal.append((tensor, rows.producer[tensor], -1 if lasts else readers))

    def at(self, done: int, layer: int) -> int:
        """Return the bytes while ``layer`` runs after the layers in ``done``."""
        total = sum(self.bytes[tensor] for tensor, readers in self.external if readers & ~done)
        for tensor, maker, readers in self.internal:
            if maker == layer or (done >> maker & 1 and readers & ~done):
                total += self.bytes[tensor]
        return total


def topological_orders(layers: list[int], before: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield all orders of the layers in which none runs before what it reads; the ascending one comes first."""
    if not layers:
        yield ()
    waiting = sum(1 << layer for layer in layers)
    for layer in layers:
        if not before[layer] & waiting:
            for rest in topological_orders([other for other in layers if other != layer], before):
                yield (layer, *rest)


def bits(mask: int) -> Iterator[int]:
    """Yield the places of the bits that are set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _undominated(options: list[SliceOption]) -> list[SliceOption]:
    """Return the options than which no other is as good in everything; of equal ones the first."""
    kept: list[SliceOption] = []
    for option in options:
        if not any(_no_worse(other, option) for other in kept):
            kept = [other for other in kept if not _no_worse(option, other)]
            kept.append(option)
    return kept


def _no_worse(one: SliceOption, other: SliceOption) -> bool:
    return one.seconds <= other.seconds and one.joules <= other.joules and one.scratch <= other.scratch
