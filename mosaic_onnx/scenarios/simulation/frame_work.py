"""The work of one frame of a model under a schedule: its slices, their dependencies, and the times of copies.

Which copies are paid is the word of ``planner.core.transfers``: the same as for a plan of this model alone. Where
copies occupy no device a chain of copies is only a delay between the end of one slice and the start of another; where
they do (``copies_occupy_device``) each is a task that needs its devices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.planner.core.simulate import check, slice_cost
from mosaic_onnx.planner.core.transfers import HOST_MEMORY, PaidTransfers, paid_transfers
from mosaic_onnx.scenarios.feasibility import check_joint_memory
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.slice_graph import CopyTask, SliceGraph
from mosaic_onnx.scenarios.unit_times import UnitTimes

MOST_KEPT = 20_000
"""Graphs that an instance keeps: a search changes one model at a time."""
ARRIVAL = -1
"""As the maker of a copy: the frame's arrival."""


def slice_graphs(instance: Instance, schedule: Schedule) -> tuple[SliceGraph, ...]:
    """Return [M] what a frame of each model has to do.

    Raises:
        InfeasibleError: some model's slices cannot run (see ``planner.simulate``), or memory does not hold all.
    """
    check_joint_memory(instance, schedule.proposals)
    known, graphs = instance.slice_graphs, []
    if len(known) > MOST_KEPT:
        known.clear()
    for model, proposal in zip(instance.models, schedule.proposals, strict=True):
        key = id(model.table), proposal, schedule.late_binding
        if key not in known:
            known[key] = slice_graph(
                model.table,
                proposal,
                instance.unit_of_state,
                late_binding=schedule.late_binding,
                unit_times=instance.unit_times,
            )
        graphs.append(known[key])
    return tuple(graphs)


def slice_graph(
    table: CostTable,
    proposal: Proposal,
    unit_of_state: tuple[int, ...],
    *,
    late_binding: bool = False,
    unit_times: tuple[UnitTimes, ...] = (),
) -> SliceGraph:
    """Return what a frame of one model has to do.

    Args:
        table: the model's costs.
        proposal: its slices in a topological order.
        unit_of_state: [S] unit that each state occupies.
        late_binding: leave out the copies: which there are is seen when devices are chosen.
        unit_times: [U] the times around the slices of each unit; empty where they take none. Late binding, which has no
            unit yet, counts them for the unit on which the slice is fastest.

    Raises:
        InfeasibleError: the slices cannot run (see ``planner.simulate``).
    """
    slice_of = check(table, proposal)
    if late_binding:
        wiring = _dependences(table, proposal, slice_of)
    elif table.copies_occupy_device:
        wiring = _occupying(table, paid_transfers(table, proposal, slice_of), unit_of_state)
    else:
        wiring = _delays(paid_transfers(table, proposal, slice_of))
    states = tuple(placed.state for placed in proposal)
    units = tuple(unit_of_state[state] for state in states)
    around = [unit_times[unit] for unit in units] if unit_times else [UnitTimes()] * len(proposal)
    seconds = tuple(slice_cost(table, one).seconds + times.turn_s for one, times in zip(proposal, around, strict=True))
    counts = [0] * len(proposal)
    for edges in (wiring.at_start, *wiring.after):
        for reader, _ in edges:
            counts[reader] += 1
    for copy in wiring.copies:
        for reader in copy.readers:
            counts[reader] += 1
    free = [(k, 0.0) for k, count in enumerate(counts) if count == 0]
    for k, _ in free:
        counts[k] = 1
    at_start = tuple((k, delay + around[k].arrival_s) for k, delay in (*wiring.at_start, *free))
    after = tuple(
        tuple((k, delay + (around[k].wake_s if units[k] != units[maker] else 0.0)) for k, delay in edges)
        for maker, edges in enumerate(wiring.after)
    )
    return SliceGraph(
        states=states,
        units=units,
        seconds=seconds,
        input_count=tuple(counts),
        at_start=at_start,
        after=after,
        tail_s=tuple(wiring.tail_s),
        rest_s=_rest(seconds, after, wiring.tail_s),
        end_count=len(proposal) + len(wiring.copies),
        copies=tuple(wiring.copies),
        copies_at_start=tuple(wiring.copies_at_start),
        copies_after=tuple(tuple(row) for row in wiring.copies_after),
    )


@dataclass
class _Wiring:
    """The dependencies between slices."""

    at_start: list[tuple[int, float]]
    after: list[list[tuple[int, float]]]
    tail_s: list[float]
    copies: list[CopyTask] = field(default_factory=list)
    copies_at_start: list[int] = field(default_factory=list)
    copies_after: list[list[int]] = field(default_factory=list)


def _dependences(table: CostTable, proposal: Proposal, slice_of: list[int]) -> _Wiring:
    """Return which slices read what others make, without delays."""
    wiring = _Wiring([], [[] for _ in proposal], [0.0] * len(proposal))
    for k, (layers, _) in enumerate(proposal):
        producers = (table.rows.producer[tensor] for layer in layers for tensor in table.layer_inputs[layer])
        for maker in sorted({slice_of[producer] for producer in producers if producer >= 0} - {k}):
            wiring.after[maker].append((k, 0.0))
    return wiring


def _delays(moved: PaidTransfers) -> _Wiring:
    """Wire copies as delays: of several between the same two slices the longest counts."""
    slice_count = len(moved.waits)
    since_maker: list[float] = []
    for copy in moved.copies:
        since_maker.append((since_maker[copy.hop] if copy.hop >= 0 else 0.0) + copy.seconds)
    wiring = _Wiring([], [[] for _ in range(slice_count)], [0.0] * slice_count)
    for k in range(slice_count):
        delays: dict[int, float] = dict.fromkeys(sorted(moved.after[k]), 0.0)
        for number in moved.waits[k]:
            maker = moved.copies[number].maker
            delays[maker] = max(delays.get(maker, 0.0), since_maker[number])
        for maker, delay in delays.items():
            (wiring.at_start if maker == ARRIVAL else wiring.after[maker]).append((k, delay))
    for number in moved.last:
        maker = moved.copies[number].maker
        wiring.tail_s[maker] = max(wiring.tail_s[maker], since_maker[number])
    return wiring


def _occupying(table: CostTable, moved: PaidTransfers, unit_of_state: tuple[int, ...]) -> _Wiring:
    """Wire copies as tasks of their own; copies within host's memory need no unit."""
    slice_count = len(moved.waits)
    unit_of_device = dict(zip(table.rows.state_device, unit_of_state, strict=True))
    wiring = _Wiring([], [[] for _ in range(slice_count)], [0.0] * slice_count)
    wiring.copies_after = [[] for _ in range(slice_count)]
    readers: list[list[int]] = [[] for _ in moved.copies]
    hops: list[list[int]] = [[] for _ in moved.copies]
    for k in range(slice_count):
        for maker in sorted(moved.after[k]):
            wiring.after[maker].append((k, 0.0))
        for number in dict.fromkeys(moved.waits[k]):
            readers[number].append(k)
    for number, copy in enumerate(moved.copies):
        if copy.hop >= 0:
            hops[copy.hop].append(number)
        elif copy.maker == ARRIVAL:
            wiring.copies_at_start.append(number)
        else:
            wiring.copies_after[copy.maker].append(number)
    for number, copy in enumerate(moved.copies):
        places = (place for place in (copy.source, copy.destination) if place != HOST_MEMORY)
        units = tuple(dict.fromkeys(unit_of_device[place] for place in places))
        wiring.copies.append(CopyTask(copy.seconds, units, tuple(hops[number]), tuple(readers[number])))
    return wiring


def _rest(
    seconds: tuple[float, ...], after: tuple[tuple[tuple[int, float], ...], ...], tail_s: list[float]
) -> tuple[float, ...]:
    """Return [K] the longest way from the start of each slice to the frame's end, without waiting."""
    rest = [0.0] * len(seconds)
    for k in reversed(range(len(seconds))):
        ways = [tail_s[k], *(delay + rest[reader] for reader, delay in after[k])]
        rest[k] = seconds[k] + max(ways)
    return tuple(rest)
