"""Spans: a concurrent plan falls into parts at gates, layers that every other layer is before or after.

When a gate runs, all before it has ended and nothing after it has begun. So the makespan is the sum of the spans
between gates, each of which only depends on the states of the two gates at its ends; what is known of the spans,
bounds and plans, is joined by a dynamic program over the gates' states. Inception and residual networks have a gate
after every module.

A span is looked at as a table of its own. Tensors that pass over a gate, and the model's inputs in later spans, count
as being everywhere; device caps count within a span only. Both lower the bound, and the simulator judges the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.planner.core.lower_bounds import segment_floor
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.core.orders import predecessors
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal

INF = float("inf")


@dataclass(frozen=True)
class Span:
    """Layers from after one gate up to the next.

    Attributes:
        begin: the gate before it; None at the start of the model.
        layers: its layers, ascending, the gate at its end among them.
        end: the gate at its end; None at the end of a model that does not end in one.
    """

    begin: int | None
    layers: tuple[int, ...]
    end: int | None


@dataclass(frozen=True)
class Known:
    """Bound and plan of a span between two states.

    Attributes:
        bound_s: a lower bound of its length.
        seconds: the length of the plan; inf where there is none.
        proposal: slices in the span's own table.
    """

    bound_s: float
    seconds: float
    proposal: Proposal


def gates(table: CostTable) -> list[int]:
    """Return layers that every other layer is before or after, ascending."""
    count = len(table.layer_names)
    above = [0] * count
    below = [0] * count
    before = predecessors(table)
    for layer in range(count):
        for maker in before[layer]:
            above[layer] |= above[maker] | 1 << maker
    for layer in range(count - 1, -1, -1):
        for maker in before[layer]:
            below[maker] |= below[layer] | 1 << layer
    return [layer for layer in range(count) if above[layer].bit_count() + below[layer].bit_count() == count - 1]


def spans(table: CostTable) -> list[Span]:
    """Return the model cut at its gates."""
    found: list[Span] = []
    begin: int | None = None
    above = _ancestors(table)
    done = 0
    for gate in gates(table):
        inside = (above[gate] | 1 << gate) & ~done
        found.append(Span(begin, _bits(inside), gate))
        done |= inside
        begin = gate
    rest = (1 << len(table.layer_names)) - 1 & ~done
    if rest:
        found.append(Span(begin, _bits(rest), None))
    return found


def relaxed(table: CostTable) -> CostTable:
    """The table without what makes slices of several layers cheaper than their layers: its plans cost no more."""
    return replace(
        table,
        layer_s=segment_floor(table, weigh(table, LATENCY)),
        slice_s=np.zeros_like(table.slice_s),
        io_host=np.zeros_like(table.io_host),
        segments={},
        copies_occupy_device=False,
    )


def span_table(table: CostTable, span: Span, begin_state: int, end_state: int) -> CostTable:
    """Return the span as a table; where it begins at a gate, layer 0 is that gate, which takes no time.

    Args:
        table: the whole model's costs.
        span: the span.
        begin_state: state of the gate before it; -1 where there is none.
        end_state: state of the gate at its end; -1 where there is none, or where it is left open.
    """
    layers = list(span.layers) if span.begin is None else [span.begin, *span.layers]
    place = {layer: number for number, layer in enumerate(layers)}
    tensors = sorted(
        {t for layer in span.layers for t in (*table.layer_inputs[layer], *table.layer_outputs[layer])}
        | ({t for t in table.layer_outputs[span.begin]} if span.begin is not None else set())
    )
    tensor_place = {tensor: number for number, tensor in enumerate(tensors)}
    producer = np.array([place.get(int(table.producer[t]), -1) for t in tensors], dtype=np.int64)
    charged = (producer >= 0) | (span.begin is None)
    first = 0 if span.begin is None else 1
    return replace(
        table,
        layer_names=tuple(table.layer_names[layer] for layer in layers),
        tensor_names=tuple(table.tensor_names[t] for t in tensors),
        layer_s=_layer_s(table, span, layers, begin_state, end_state),
        layer_j=None,
        parameter_bytes=table.parameter_bytes[layers],
        workspace_bytes=table.workspace_bytes[layers],
        activation_bytes=table.activation_bytes[layers],
        layer_inputs=tuple(
            () if number < first else tuple(tensor_place[t] for t in table.layer_inputs[layer])
            for number, layer in enumerate(layers)
        ),
        layer_outputs=tuple(tuple(tensor_place[t] for t in table.layer_outputs[layer]) for layer in layers),
        tensor_bytes=table.tensor_bytes[tensors],
        producer=producer,
        consumers=tuple(
            tuple(place[reader] for reader in table.consumers[t] if place.get(reader, -1) >= first) for t in tensors
        ),
        is_output=(table.is_output[tensors] & (producer >= first)) & (span.end is None or _is_last(table, span)),
        group=table.group[layers],
        to_host_s=table.to_host_s[tensors],
        to_host_j=table.to_host_j[tensors],
        from_host_s=np.where(charged[:, None], table.from_host_s[tensors], 0.0),
        from_host_j=table.from_host_j[tensors],
        direct_s={pair: seconds[tensors] for pair, seconds in table.direct_s.items()},
        direct_j={pair: joules[tensors] for pair, joules in table.direct_j.items()},
        segments={},
    )


def _layer_s(table: CostTable, span: Span, layers: Sequence[int], begin_state: int, end_state: int) -> Floats:
    """Return [L, S] seconds of a span's layers: its gates only in their states, the one before it in no time."""
    layer_s: Floats = table.layer_s[list(layers)].copy()
    states = np.arange(layer_s.shape[1])
    if span.begin is not None:
        layer_s[0] = np.where(states == begin_state, 0.0, np.inf)
    if span.end is not None and end_state >= 0:
        row = layers.index(span.end)
        layer_s[row] = np.where(states == end_state, layer_s[row], np.inf)
    return layer_s


Case = tuple[int, int, int]
"""A span's number, the state of the gate before it, and of the gate at its end; -1 where there is none."""


@dataclass(frozen=True)
class Joined:
    """Bound and plan of the whole model.

    Attributes:
        bound_s: lower bound of the makespan.
        seconds: the plan's makespan; inf where there is none.
        proposal: the plan; None where there is none.
        bound_cases: those whose bounds make up the bound.
        plan_cases: those whose plans make up the plan.
    """

    bound_s: float
    seconds: float
    proposal: Proposal | None
    bound_cases: tuple[Case, ...]
    plan_cases: tuple[Case, ...]


def join(states: Sequence[Sequence[int]], parts: Sequence[Span], known: Callable[[Case], Known]) -> Joined:
    """Return the least sum of bounds, and the least sum of plans, over the states of the gates.

    Args:
        states: [L] states that matter.
        parts: the spans.
        known: what is known of a case.
    """
    bound_s, bound_cases = _least(states, parts, lambda case: known(case).bound_s)
    seconds, plan_cases = _least(states, parts, lambda case: known(case).seconds)
    proposal: Proposal | None = None
    if seconds < INF:
        proposal = tuple(part for case in plan_cases for part in _outside(parts[case[0]], known(case).proposal))
    return Joined(bound_s, seconds, proposal, bound_cases, plan_cases)


def case_count(states: Sequence[Sequence[int]], parts: Sequence[Span]) -> int:
    """Return how many cases there are of spans of several layers."""
    total = 0
    for span in parts:
        if len(span.layers) > 1:
            total += (1 if span.begin is None else len(states[span.begin])) * (
                1 if span.end is None else len(states[span.end])
            )
    return total


def single(table: CostTable, span: Span, case: Case) -> Known:
    """Return all that there is to know of a span of one layer."""
    rows, (layer,), (_, begin, end) = table.rows, span.layers, case
    state = end if span.end is not None else int(table.layer_s[layer].argmin())
    levels = [level for level, device in enumerate(rows.state_device) if device == rows.state_device[state]]
    after_s = rows.layer_s[layer][state]
    if _is_last(table, span):
        home = [rows.to_host_s[tensor][state] for tensor in table.layer_outputs[layer] if rows.is_output[tensor]]
        after_s += max(home, default=0.0)
    arrived_s = _arrived_s(table, span, begin, layer, [state])
    # Another level of the device may be the first to read a tensor, and it is that one's copy that counts.
    soonest_s = _arrived_s(table, span, begin, layer, levels)
    own = 0 if span.begin is None else 1
    return Known(soonest_s + after_s, arrived_s + after_s, (PlacedSlice((own,), state),))


def _arrived_s(table: CostTable, span: Span, begin: int, layer: int, levels: Sequence[int]) -> float:
    """Return seconds until the layer's inputs are there, at the cheapest of some levels of its device."""
    rows, arrived_s = table.rows, 0.0
    for tensor in table.layer_inputs[layer]:
        if span.begin is None:
            arrived_s = max(arrived_s, min(rows.from_host_s[tensor][level] for level in levels))
        elif rows.producer[tensor] == span.begin and rows.state_device[begin] != rows.state_device[levels[0]]:
            arrived_s = max(arrived_s, min(_way_s(table, tensor, begin, level) for level in levels))
    return arrived_s


def _way_s(table: CostTable, tensor: int, source: int, destination: int) -> float:
    """Return seconds from a state of one device to a state of another, directly where there is an entry."""
    direct = table.straight_s(tensor, source, destination)
    if direct is not None:
        return direct
    return table.rows.to_host_s[tensor][source] + table.rows.from_host_s[tensor][destination]


def _least(
    states: Sequence[Sequence[int]], parts: Sequence[Span], length: Callable[[Case], float]
) -> tuple[float, tuple[Case, ...]]:
    """The least sum of lengths over the states of the gates, and the cases that make it up; inf where there is none."""
    reached: dict[int, tuple[float, tuple[Case, ...]]] = {-1: (0.0, ())}
    for number, span in enumerate(parts):
        ends = [-1] if span.end is None else states[span.end]
        following: dict[int, tuple[float, tuple[Case, ...]]] = {}
        for begin, (seconds, cases) in reached.items():
            for end in ends:
                case = number, begin, end
                total = seconds + length(case)
                if total < following.get(end, (INF, ()))[0]:
                    following[end] = total, (*cases, case)
        reached = following
    return min(reached.values(), default=(INF, ()))


def _outside(span: Span, proposal: Proposal) -> Proposal:
    """Return a span's slices in the whole model's layers, the gate before it left out."""
    layers = span.layers if span.begin is None else (span.begin, *span.layers)
    placed = (
        PlacedSlice(tuple(layers[number] for number in part.layers if layers[number] != span.begin), part.state)
        for part in proposal
    )
    return tuple(part for part in placed if part.layers)


def _is_last(table: CostTable, span: Span) -> bool:
    """No layer comes after the span."""
    return span.layers[-1] == len(table.layer_names) - 1


def _ancestors(table: CostTable) -> list[int]:
    above = [0] * len(table.layer_names)
    for layer, makers in enumerate(predecessors(table)):
        for maker in makers:
            above[layer] |= above[maker] | 1 << maker
    return above


def _bits(mask: int) -> tuple[int, ...]:
    layers = []
    while mask:
        low = mask & -mask
        layers.append(low.bit_length() - 1)
        mask ^= low
    return tuple(layers)


def key_of(table: CostTable) -> bytes:
    """Equal for span tables that cost the same: equal modules need to be looked at once."""
    parts: list[Floats] = [table.layer_s, table.to_host_s, table.from_host_s]
    parts += [seconds for _, seconds in sorted(table.direct_s.items())]
    numbers = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    shape = repr((table.layer_inputs, table.layer_outputs, table.is_output.tolist(), table.group.tolist()))
    memory = b"".join(
        np.ascontiguousarray(part).tobytes()
        for part in (table.parameter_bytes, table.workspace_bytes, table.activation_bytes, table.tensor_bytes)
    )
    return numbers + memory + shape.encode()
