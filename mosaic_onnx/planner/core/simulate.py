"""The one judge: what a proposal costs and when everything in it happens (``reference: profile format``, version 1).

Both schedules pay for the same transfers (``paid_transfers``). Sequential: before a slice its transfers, then the
switch of its device's level, then its execution; an ``io: host`` slice sends its tensors out right after it; the
model's outputs come to host at the end. Concurrent: see ``timeline``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Objective, Schedule
from mosaic_onnx.planner.core.memory import check_memory
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.planner.core.timeline import Times, concurrent_times
from mosaic_onnx.planner.core.transfers import HOST_MEMORY, PaidTransfer, PaidTransfers, paid_transfers


class Timeline(NamedTuple):
    """Figures and times of one proposal, by the simulator.

    Attributes:
        seconds: when all is done (the makespan; for a sequential schedule the sum of everything).
        joules: energy of everything with idle power over the makespan; None where the table has none.
        interval_seconds: the largest load of a device or of a link between machines.
        load_s: [D] seconds that each device is busy: execution, copies that name it, switches.
        copies: every copy that is paid for, free ones too.
        slice_times: start and end of each slice's execution, in the proposal's order.
        copy_times: start and end of each copy.
    """

    seconds: float
    joules: float | None
    interval_seconds: float
    load_s: list[float]
    copies: list[PaidTransfer]
    slice_times: list[tuple[float, float]]
    copy_times: list[tuple[float, float]]


class _Spent(NamedTuple):
    """Seconds and joules of one slice."""

    seconds: float
    joules: float


def simulate(table: CostTable, proposal: Proposal, schedule: Schedule = "sequential") -> Timeline:
    """Return what a proposal costs, and when everything in it happens.

    Raises:
        InfeasibleError: it does not hold every layer once, is in no topological order, puts a layer where it cannot
            run, parts a group, breaks a memory cap, or gives a device more slices than it takes.
    """
    slice_of = check(table, proposal)
    moved = paid_transfers(table, proposal, slice_of)
    spent = [slice_cost(table, placed) for placed in proposal]
    switches = _switches(table, proposal)
    if schedule == "sequential":
        times = _sequential_times(moved, spent, switches)
    else:
        times = concurrent_times(table, proposal, moved, [item.seconds for item in spent], [s for s, _ in switches])
    load = _loads(table, proposal, moved.copies, spent, switches)
    joules = None
    if table.layer_j is not None:
        joules = (
            sum([item.joules for item in spent])
            + sum([copy.joules for copy in moved.copies])
            + sum([joules for _, joules in switches])
            + table.rows.idle_w * times.seconds
        )
    interval_s = max([*together(table, load), *link_loads(table, moved.copies)], default=0.0)
    return Timeline(times.seconds, joules, interval_s, load, moved.copies, times.slices, times.copies)


def value(timeline: Timeline, objective: Objective) -> float:
    """The objective's value: seconds, joules or joule-seconds; inf where joules are asked for and there are none."""
    if objective == "latency":
        return timeline.seconds
    if objective == "throughput":
        return timeline.interval_seconds
    if timeline.joules is None:
        return float("inf")
    return timeline.joules if objective == "energy" else timeline.joules * timeline.seconds


def check(table: CostTable, proposal: Proposal) -> list[int]:
    """Return [L] the slice that holds each layer, where the proposal is one that can run.

    Raises:
        InfeasibleError: as ``simulate``.
    """
    rows = table.rows
    slice_of = [-1] * len(table.layer_names)
    position = [-1] * len(table.layer_names)
    group_device: dict[int, int] = {}
    step = 0
    for k, (layers, state) in enumerate(proposal):
        if not layers:
            raise InfeasibleError(f"slice {k} holds no layer")
        for layer in layers:
            _check_layer(table, layer, state, slice_of)
            slice_of[layer], position[layer] = k, step
            step += 1
            for tensor in table.layer_inputs[layer]:
                maker = rows.producer[tensor]
                if maker >= 0 and position[maker] < 0:
                    raise InfeasibleError(
                        f"layer {table.layer_names[layer]} runs before layer {table.layer_names[maker]}, "
                        f"which makes its input {table.tensor_names[tensor]}"
                    )
            group, device = rows.group[layer], rows.state_device[state]
            if group >= 0 and group_device.setdefault(group, device) != device:
                raise InfeasibleError(
                    f"layer {table.layer_names[layer]} is on {table.device_names[device]}, "
                    f"others of its group on {table.device_names[group_device[group]]}"
                )
    if step != len(slice_of):
        missing = slice_of.index(-1)
        raise InfeasibleError(f"no slice runs layer {table.layer_names[missing]}")
    check_memory(table, proposal)
    if table.max_slice_count is not None:
        _check_slice_counts(table, proposal, table.max_slice_count)
    return slice_of


def _check_slice_counts(table: CostTable, proposal: Proposal, limits: Floats) -> None:
    """Check whether no device runs more slices than it takes."""
    counts = Counter(table.rows.state_device[state] for _, state in proposal)
    for device, count in counts.items():
        if count > limits[device]:
            raise InfeasibleError(
                f"{table.device_names[device]} runs {count} slices, its max_slice_count is {limits[device]:.0f}"
            )


def _check_layer(table: CostTable, layer: int, state: int, slice_of: list[int]) -> None:
    """Check whether this layer exists, stands for the first time, and the state can run it."""
    if not 0 <= layer < len(slice_of):
        raise InfeasibleError(f"there is no layer {layer}")
    if slice_of[layer] >= 0:
        raise InfeasibleError(f"layer {table.layer_names[layer]} stands in two slices")
    if table.rows.layer_s[layer][state] == float("inf"):
        raise InfeasibleError(f"{table.state_names[state]} cannot run layer {table.layer_names[layer]}")


def slice_cost(table: CostTable, placed: PlacedSlice) -> _Spent:
    """Execution of one slice: its own measurement where there is one, else its layers and what a slice costs there."""
    rows, (layers, state) = table.rows, placed
    seconds_of, joules_of = rows.layer_s, rows.layer_j
    joules = 0.0 if joules_of is None else sum([joules_of[layer][state] for layer in layers])
    if table.segments:
        first, last = layers[0], layers[-1]
        segment = table.segments.get((first, last, state))
        if segment is not None and layers == tuple(range(first, last + 1)):
            return _Spent(segment[0], joules if segment[1] is None else segment[1])
    device = rows.state_device[state]
    seconds = sum([seconds_of[layer][state] for layer in layers]) + rows.slice_s[device]
    return _Spent(seconds, joules + rows.slice_j[device])


def _switches(table: CostTable, proposal: Proposal) -> list[tuple[float, float]]:
    """[slice] seconds and joules to bring its device from the level of the last slice that it ran to this one's."""
    rows = table.rows
    last: dict[int, int] = {}
    costs = []
    for layers, state in proposal:
        device = rows.state_device[state]
        before = last.get(device, state)
        last[device] = state
        costs.append(switch_cost(table, before, state, layers[0]))
    return costs


def switch_cost(table: CostTable, before: int, state: int, layer: int) -> tuple[float, float]:
    """Return seconds and joules to change a device from one of its states to another before a slice.

    Args:
        table: the costs.
        before: state of the last slice on the device.
        state: state of this one.
        layer: the first layer of this slice.
    """
    by_layer = table.layer_switches.get((before, state)) if table.layer_switches else None
    if by_layer is not None:
        return float(by_layer[0][layer]), float(by_layer[1][layer])
    return table.rows.switch_s[before][state], table.rows.switch_j[before][state]


def _sequential_times(moved: PaidTransfers, spent: list[_Spent], switches: list[tuple[float, float]]) -> Times:
    """Return one thing at a time: the copies before a slice, its switch, its execution, what it sends out."""
    now, number = 0.0, 0
    copy_times: list[tuple[float, float]] = []
    slice_times: list[tuple[float, float]] = []
    copies, count = moved.copies, len(moved.copies)
    for k, item in enumerate(spent):
        while number < count and copies[number].slice == k and copies[number].maker != k:
            copy_times.append((now, now + copies[number].seconds))
            now, number = copy_times[-1][1], number + 1
        now += switches[k][0]
        slice_times.append((now, now + item.seconds))
        now = slice_times[-1][1]
        while number < count and copies[number].slice == k:
            copy_times.append((now, now + copies[number].seconds))
            now, number = copy_times[-1][1], number + 1
    for copy in copies[number:]:
        copy_times.append((now, now + copy.seconds))
        now = copy_times[-1][1]
    return Times(now, slice_times, copy_times)


def together(table: CostTable, load: Sequence[float]) -> list[float]:
    """Return the loads of what works one at a time: each device, and each group of devices that exclude each other."""
    return [sum(load[device] for device in devices) for devices in table.one_at_a_time]


def link_loads(table: CostTable, copies: Sequence[PaidTransfer]) -> list[float]:
    """Return the seconds that each link between machines is held."""
    load = [0.0] * len(table.link_names)
    for copy in copies:
        link = table.link_of.get((copy.source, copy.destination)) if load else None
        if link is not None:
            load[link] += copy.seconds
    return load


def _loads(
    table: CostTable,
    proposal: Proposal,
    copies: list[PaidTransfer],
    spent: list[_Spent],
    switches: list[tuple[float, float]],
) -> list[float]:
    """Return [D] execution, every copy that names the device, switches."""
    load = [0.0] * len(table.device_names)
    for (_, state), item, (switch, _) in zip(proposal, spent, switches, strict=True):
        load[table.rows.state_device[state]] += item.seconds + switch
    for copy in copies:
        if copy.source != HOST_MEMORY:
            load[copy.source] += copy.seconds
        if copy.destination != HOST_MEMORY:
            load[copy.destination] += copy.seconds
    return load
