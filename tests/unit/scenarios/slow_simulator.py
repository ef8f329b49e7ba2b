"""A second simulator, written to be plainly right: it looks at everything at every instant where something may happen.

It shares nothing with ``scenarios.simulation`` but the cost table. Copies occupy no device.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule

INF = float("inf")


@dataclass
class SlowFrame:
    """One frame of one model."""

    model: int
    number: int
    arrival: float
    due: float
    start: dict[int, float] = field(default_factory=dict)
    end: dict[int, float] = field(default_factory=dict)
    dropped: bool = False


def slow_completions(
    instance: Instance, schedule: Schedule, arrivals: list[list[float]], deadlines: list[float]
) -> list[list[float]]:
    """[M][F] when each frame completes; inf where it is dropped."""
    frames = [
        SlowFrame(m, n, time, time + deadlines[model.group])
        for m, model in enumerate(instance.models)
        for n, time in enumerate(arrivals[model.group])
    ]
    running: dict[int, tuple[SlowFrame, int, float]] = {}
    last_state: dict[int, int] = {}
    now = min(frame.arrival for frame in frames)
    while True:
        for unit, (frame, k, end) in list(running.items()):
            if end == now:
                frame.end[k] = now
                del running[unit]
        _drop(instance, frames, now)
        for unit in range(len(instance.unit_names)):
            ready = [] if unit in running else _ready(instance, schedule, frames, unit, now)
            if ready:
                _, frame, k = min(ready, key=lambda item: item[0])
                seconds, state = _seconds(instance, schedule, frame.model, k), schedule.proposals[frame.model][k].state
                before = last_state.get(unit, state)
                seconds += float(instance.models[frame.model].table.switch_s[before, state])
                last_state[unit] = state
                frame.start[k] = now
                running[unit] = frame, k, now + seconds
        later = [time for time in _moments(instance, schedule, frames, running) if time > now]
        if any(end == now for _, _, end in running.values()):
            continue
        if not later:
            break
        now = min(later)
    completions: list[list[float]] = [[] for _ in instance.models]
    for frame in frames:
        completions[frame.model].append(INF if frame.dropped else _completion(instance, schedule, frame))
    return completions


def _drop(instance: Instance, frames: list[SlowFrame], now: float) -> None:
    if instance.scenario.drop == "never":
        return
    for frame in frames:
        successor = [other for other in frames if other.model == frame.model and other.number == frame.number + 1]
        if successor and successor[0].arrival <= now and (not frame.start or min(frame.start.values()) >= now):
            frame.dropped = frame.dropped or not frame.start


def _ready(
    instance: Instance, schedule: Schedule, frames: list[SlowFrame], unit: int, now: float
) -> list[tuple[tuple[float, ...], SlowFrame, int]]:
    """Slices that could start on a unit, with the key by which it picks."""
    found = []
    for frame in frames:
        if frame.dropped or frame.arrival > now:
            continue
        rank = schedule.priority.index(frame.model)
        for k, placed in enumerate(schedule.proposals[frame.model]):
            if k in frame.start or instance.unit_of_state[placed.state] != unit:
                continue
            since = _inputs_there(instance, schedule, frame, k)
            if since <= now:
                first = {
                    "priority": float(rank),
                    "fifo": since,
                    "edf": frame.due,
                    "least-slack": frame.due - _rest(instance, schedule, frame.model, k),
                }[schedule.policy]
                found.append(((first, frame.arrival, rank, frame.number, k), frame, k))
    return found


def _moments(
    instance: Instance,
    schedule: Schedule,
    frames: list[SlowFrame],
    running: dict[int, tuple[SlowFrame, int, float]],
) -> list[float]:
    moments = [end for _, _, end in running.values()] + [frame.arrival for frame in frames]
    for frame in frames:
        for k in range(len(schedule.proposals[frame.model])):
            if k not in frame.start and not frame.dropped:
                moments.append(_inputs_there(instance, schedule, frame, k))
    return [moment for moment in moments if moment < INF]


def _inputs_there(instance: Instance, schedule: Schedule, frame: SlowFrame, k: int) -> float:
    """Return the time the last of a slice's inputs is where it runs; inf while one is not made."""
    table, proposal = instance.models[frame.model].table, schedule.proposals[frame.model]
    latest = frame.arrival
    for layer in proposal[k].layers:
        for tensor in table.layer_inputs[layer]:
            maker = _slice_of(proposal, int(table.producer[tensor]))
            if maker == k:
                continue
            made = frame.arrival if maker < 0 else frame.end.get(maker, INF)
            source = -1 if maker < 0 else proposal[maker].state
            latest = max(latest, made + _way(table, tensor, source, _first_reader(table, proposal, tensor, k)))
    return latest


def _first_reader(table: CostTable, proposal: Proposal, tensor: int, k: int) -> int:
    """The state that prices the copy: of the first slice on that device that reads the tensor, where it stays there."""
    state = proposal[k].state
    device = table.state_device[state]
    if table.io_host[device]:
        return state
    for j, placed in enumerate(proposal):
        reads = any(tensor in table.layer_inputs[layer] for layer in placed.layers)
        made_here = _slice_of(proposal, int(table.producer[tensor])) == j
        if reads and not made_here and table.state_device[placed.state] == device:
            return placed.state
    raise AssertionError("the slice itself reads it")


def _way(table: CostTable, tensor: int, source: int, destination: int) -> float:
    """Seconds from where a tensor is made (-1: at host) to a reader, by the profile format's rules."""
    device = table.state_device[destination]
    origin = -1 if source < 0 else table.state_device[source]
    to_host = 0.0 if origin < 0 or not table.own_memory[origin] else float(table.to_host_s[tensor, source])
    if not table.own_memory[device]:
        return to_host
    from_host = float(table.from_host_s[tensor, destination])
    if table.io_host[device]:
        return to_host + from_host
    if origin == device:
        return 0.0
    if table.direct_s.get((source, destination), {tensor: float("inf")})[tensor] < float("inf"):
        return float(table.direct_s[source, destination][tensor])
    return to_host + from_host


def _completion(instance: Instance, schedule: Schedule, frame: SlowFrame) -> float:
    table, proposal = instance.models[frame.model].table, schedule.proposals[frame.model]
    latest = max(frame.end.values())
    for tensor in range(len(table.tensor_names)):
        maker = _slice_of(proposal, int(table.producer[tensor]))
        if table.is_output[tensor] and maker >= 0:
            state = proposal[maker].state
            if table.own_memory[table.state_device[state]]:
                latest = max(latest, frame.end[maker] + float(table.to_host_s[tensor, state]))
    return latest


def _seconds(instance: Instance, schedule: Schedule, model: int, k: int) -> float:
    table, placed = instance.models[model].table, schedule.proposals[model][k]
    first, last = placed.layers[0], placed.layers[-1]
    measured = table.segments.get((first, last, placed.state))
    if measured is not None and placed.layers == tuple(range(first, last + 1)):
        return measured[0]
    total = sum(float(table.layer_s[layer, placed.state]) for layer in placed.layers)
    return total + float(table.slice_s[table.state_device[placed.state]])


def _rest(instance: Instance, schedule: Schedule, model: int, k: int) -> float:
    """Seconds from the start of a slice to the frame's end if nothing waited."""
    table, proposal = instance.models[model].table, schedule.proposals[model]
    own = _seconds(instance, schedule, model, k)
    ways = [0.0]
    for tensor in {t for layer in proposal[k].layers for t in table.layer_outputs[layer]}:
        state = proposal[k].state
        if table.is_output[tensor] and table.own_memory[table.state_device[state]]:
            ways.append(float(table.to_host_s[tensor, state]))
        for j in {_slice_of(proposal, layer) for layer in table.consumers[tensor]} - {k}:
            way = _way(table, tensor, state, _first_reader(table, proposal, tensor, j))
            ways.append(way + _rest(instance, schedule, model, j))
    return own + max(ways)


def _slice_of(proposal: Proposal, layer: int) -> int:
    return next((k for k, placed in enumerate(proposal) if layer in placed.layers), -1)
