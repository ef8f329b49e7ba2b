"""The cost of a plan, written a second time from the format's description alone: slow, plain, sharing no code.

Works on the profile and on slices as (layer indices, state name). The concurrent schedule is found by walking a clock
from event to event.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import MeasuredSlice, Profile, TransferCost

PlainSlice = tuple[tuple[int, ...], str]
"""(layers in the order in which the slice runs them, state name)"""


@dataclass
class CopyMade:
    """One copy that is paid for."""

    tensor: str
    source: str
    destination: str
    seconds: float
    joules: float
    maker: int | None
    """slice that makes the tensor"""
    first_hop: CopyMade | None = None
    start: float | None = None

    @property
    def end(self) -> float | None:
        return None if self.start is None else self.start + self.seconds


@dataclass
class Outcome:
    """Return the plan's cost."""

    seconds: float
    joules: float | None
    interval_seconds: float
    slice_starts: list[float]
    copies: list[CopyMade] = field(default_factory=list)


def evaluate(profile: Profile, slices: list[PlainSlice], schedule: str = "sequential") -> Outcome | None:
    """The outcome; None where the plan breaks a rule."""
    if not _allowed(profile, slices):
        return None
    copies, inputs_of, final = _copies(profile, slices)
    execution = [_execution(profile, one) for one in slices]
    switches = _switches(profile, slices)
    if schedule == "sequential":
        seconds = (
            sum(e[0] for e in execution) + sum(copy.seconds for copy in copies) + sum(switch[0] for switch in switches)
        )
        starts: list[float] = []
    else:
        starts = _Clock(profile, slices, copies, inputs_of, execution, switches).run()
        ends = [start + e[0] for start, e in zip(starts, execution, strict=True)]
        seconds = max([*ends, *(copy.end or 0.0 for copy in final)])
    joules = None
    if any(cost and cost.joules is not None for layer in profile.layers for cost in layer.cost.values()):
        joules = sum(e[1] for e in execution) + sum(copy.joules for copy in copies) + sum(s[1] for s in switches)
        joules += seconds * sum(device.idle_w for device in profile.devices)
    load = {device.name: 0.0 for device in profile.devices}
    for (_, state), e, switch in zip(slices, execution, switches, strict=True):
        load[state.split("@")[0]] += e[0] + switch[0]
    for copy in copies:
        for place in (copy.source, copy.destination):
            if place != "host":
                load[place] += copy.seconds
    return Outcome(seconds, joules, max(load.values()), starts, copies)


def _device(profile: Profile, state: str) -> Device:
    return next(device for device in profile.devices if device.name == state.split("@", maxsplit=1)[0])


def _own_memory(profile: Profile, device: str) -> bool:
    return any(device in (c.source.split("@")[0], c.destination.split("@")[0]) for c in profile.copies)


def _allowed(profile: Profile, slices: list[PlainSlice]) -> bool:
    done: set[str] = set(profile.inputs)
    ran: list[int] = []
    groups: dict[str, str] = {}
    for layers, state in slices:
        for index in layers:
            layer = profile.layers[index]
            name = state.split("@")[0]
            if layer.cost.get(state) is None or (layer.allowed is not None and name not in layer.allowed):
                return False
            if not set(layer.inputs) <= done:
                return False
            if layer.group and groups.setdefault(layer.group, name) != name:
                return False
            done |= set(layer.outputs)
            ran.append(index)
    return sorted(ran) == list(range(len(profile.layers))) and _memory_kept(profile, slices)


def _readers_outside(profile: Profile, tensor: str, layers: tuple[int, ...]) -> bool:
    return tensor in profile.outputs or any(
        tensor in layer.inputs for index, layer in enumerate(profile.layers) if index not in layers
    )


def _live(profile: Profile, layers: tuple[int, ...]) -> int:
    made = {tensor for index in layers for tensor in profile.layers[index].outputs}
    largest = 0
    for step in range(len(layers)):
        later = [profile.layers[index] for index in layers[step:]]
        wanted = {tensor for layer in later for tensor in layer.inputs}
        live = {tensor for tensor in wanted if tensor not in made}
        for index in layers[: step + 1]:
            for tensor in profile.layers[index].outputs:
                if tensor in wanted or index == layers[step] or _readers_outside(profile, tensor, layers):
                    live.add(tensor)
        largest = max(largest, sum(profile.tensor_bytes[tensor] for tensor in live))
    return largest


def _memory_kept(profile: Profile, slices: list[PlainSlice]) -> bool:
    for device in profile.devices:
        parameters_of_all, largest_rest = 0, 0
        for layers, state in slices:
            if state not in device.states:
                continue
            parameters, workspace, activations = 0, 0, 0
            for index in layers:
                layer, cost = profile.layers[index], profile.layers[index].cost[state]
                assert cost is not None
                parameters += layer.parameter_bytes if cost.parameter_bytes is None else cost.parameter_bytes
                scratch = layer.workspace_bytes if cost.workspace_bytes is None else cost.workspace_bytes
                workspace = max(workspace, scratch)
                own = layer.activation_bytes if cost.activation_bytes is None else cost.activation_bytes
                if own is None:
                    own = sum(profile.tensor_bytes[tensor] for tensor in layer.outputs)
                activations += own
            if device.activation_memory == "live":
                activations = _live(profile, layers)
            cap = device.slice_memory_bytes
            if cap is not None and parameters + workspace + activations > cap:
                return False
            parameters_of_all += parameters
            largest_rest = max(largest_rest, workspace + activations)
        if device.memory_bytes is not None and parameters_of_all + largest_rest > device.memory_bytes:
            return False
    return True


def _execution(profile: Profile, one: PlainSlice) -> tuple[float, float]:
    layers, state = one
    costs = [profile.layers[index].cost[state] for index in layers]
    seconds = sum(cost.seconds for cost in costs if cost)
    joules = sum(cost.joules or 0.0 for cost in costs if cost)
    found: list[MeasuredSlice] = [
        segment
        for segment in profile.segments
        if list(layers) == list(range(segment.first, segment.last + 1)) and segment.state == state
    ]
    if found:
        return found[0].seconds, joules if found[0].joules is None else found[0].joules
    device = _device(profile, state)
    return seconds + device.slice_seconds, joules + device.slice_joules


def _switches(profile: Profile, slices: list[PlainSlice]) -> list[tuple[float, float]]:
    costs = []
    for k, (_, state) in enumerate(slices):
        name, _, level = state.partition("@")
        earlier = [other.partition("@")[2] for _, other in slices[:k] if other.partition("@")[0] == name]
        cost = (0.0, 0.0)
        for switch in profile.switches:
            if earlier and (switch.device, switch.source, switch.destination) == (name, earlier[-1], level):
                cost = switch.seconds, switch.joules
        costs.append(cost)
    return costs


def _entry(profile: Profile, source: str, destination: str) -> TransferCost | None:
    a, b = source.split("@", maxsplit=1)[0], destination.split("@", maxsplit=1)[0]
    for pair in ((source, destination), (a, destination), (source, b), (a, b)):
        for copy in profile.copies:
            if (copy.source, copy.destination) == pair:
                return copy
    return None


def _price(profile: Profile, copy: TransferCost, tensor: str) -> tuple[float, float]:
    count = profile.tensor_bytes[tensor]
    seconds, joules = copy.seconds_per_byte * count + copy.seconds, copy.joules_per_byte * count + copy.joules
    special = copy.tensors.get(tensor)
    if special is not None:
        seconds = seconds if special.seconds is None else special.seconds
        joules = joules if special.joules is None else special.joules
    return seconds, joules


def _cheaper_direct(profile: Profile, source: str, destination: str, tensor: str) -> TransferCost | None:
    """The direct entry, unless the two copies by way of host take less time, or as much at fewer joules."""
    direct = _entry(profile, source, destination)
    out, into = _entry(profile, source, "host"), _entry(profile, "host", destination)
    if direct is None or out is None or into is None:
        return direct
    by_host = zip(_price(profile, out, tensor), _price(profile, into, tensor), strict=True)
    return direct if _price(profile, direct, tensor) <= tuple(there + back for there, back in by_host) else None


def _copies(
    profile: Profile, slices: list[PlainSlice]
) -> tuple[list[CopyMade], list[list[CopyMade | int]], list[CopyMade]]:
    """All copies; what each slice waits for (copies, or slices by number); copies that bring outputs to host."""
    made_by = {
        tensor: k
        for k, (layers, _) in enumerate(slices)
        for index in layers
        for tensor in profile.layers[index].outputs
    }
    made: list[CopyMade] = []
    host: dict[str, CopyMade] = {}
    there: dict[tuple[str, str], CopyMade] = {}

    def pay(tensor: str, source: str, destination: str, hop: CopyMade | None = None) -> CopyMade:
        entry = _entry(profile, source, destination)
        assert entry is not None
        places = source.split("@", maxsplit=1)[0], destination.split("@", maxsplit=1)[0]
        made.append(CopyMade(tensor, *places, *_price(profile, entry, tensor), made_by.get(tensor), hop))
        return made[-1]

    def at_host(tensor: str) -> CopyMade | None:
        if tensor not in made_by:
            return None
        state = slices[made_by[tensor]][1]
        if not _own_memory(profile, state.split("@")[0]):
            return None
        if tensor not in host:
            host[tensor] = pay(tensor, state, "host")
        return host[tensor]

    waits: list[list[CopyMade | int]] = []
    for k, (layers, state) in enumerate(slices):
        device = _device(profile, state)
        waits.append([])
        external = dict.fromkeys(t for i in layers for t in profile.layers[i].inputs if made_by.get(t) != k)
        for tensor in external:
            maker = made_by.get(tensor)
            maker_state = None if maker is None else slices[maker][1]
            if not _own_memory(profile, device.name):
                arrival: CopyMade | int | None = at_host(tensor) or maker
            elif device.io == "host":
                arrival = pay(tensor, "host", state, at_host(tensor))
            elif maker_state is not None and maker_state.split("@")[0] == device.name:
                arrival = maker
            else:
                if (tensor, device.name) not in there:
                    direct = None
                    if maker_state is not None:
                        source = _device(profile, maker_state)
                        if source.io == "resident" and _own_memory(profile, source.name):
                            direct = _cheaper_direct(profile, maker_state, state, tensor)
                    there[tensor, device.name] = (
                        pay(tensor, maker_state, state)
                        if direct is not None and maker_state is not None
                        else pay(tensor, "host", state, at_host(tensor))
                    )
                arrival = there[tensor, device.name]
            if arrival is not None:
                waits[k].append(arrival)
        if device.io == "host":
            for index in layers:
                for tensor in profile.layers[index].outputs:
                    if _readers_outside(profile, tensor, layers):
                        at_host(tensor)
    final = [copy for tensor in profile.outputs if (copy := at_host(tensor)) is not None]
    return made, waits, final


class _Clock:
    """The concurrent schedule, from event to event."""

    def __init__(
        self,
        profile: Profile,
        slices: list[PlainSlice],
        copies: list[CopyMade],
        waits: list[list[CopyMade | int]],
        execution: list[tuple[float, float]],
        switches: list[tuple[float, float]],
    ) -> None:
        self.occupied = profile.copies_occupy_device
        self.slices, self.copies, self.waits = slices, copies, waits
        self.execution, self.switches = execution, switches
        self.starts: list[float | None] = [None] * len(slices)
        self.free_at = {device.name: 0.0 for device in profile.devices}

    def run(self) -> list[float]:
        now = 0.0
        while any(start is None for start in self.starts) or any(copy.start is None for copy in self.copies):
            while self._start_something(now):
                pass
            later = [time for time in self._events() if time > now]
            if not later:
                break
            now = min(later)
        assert all(copy.start is not None for copy in self.copies)
        return [start for start in self.starts if start is not None]

    def _events(self) -> list[float]:
        ends = [start + self.execution[k][0] for k, start in enumerate(self.starts) if start is not None]
        ready = []
        for k, (_, state) in enumerate(self.slices):
            ready.append(self.free_at[state.split("@")[0]] + self.switches[k][0])
        return ends + ready + [copy.end for copy in self.copies if copy.end is not None] + list(self.free_at.values())

    def _copy_ready(self, copy: CopyMade) -> float | None:
        if copy.first_hop is not None:
            return copy.first_hop.end
        if copy.maker is None:
            return 0.0
        start = self.starts[copy.maker]
        return None if start is None else start + self.execution[copy.maker][0]

    def _slice_ready(self, k: int) -> float | None:
        """Return the time its inputs have arrived; None while unknown, or an earlier slice of its device waits."""
        device = self.slices[k][1].split("@")[0]
        for other in range(k):
            if self.slices[other][1].split("@")[0] == device and self.starts[other] is None:
                return None
        times = [0.0]
        for arrival in self.waits[k]:
            if isinstance(arrival, CopyMade):
                time = arrival.end
            else:
                start = self.starts[arrival]
                time = None if start is None else start + self.execution[arrival][0]
            if time is None:
                return None
            times.append(time)
        return max(times)

    def _start_something(self, now: float) -> bool:
        """Walk along the line of those that are ready by now; start the first that can start."""
        line: list[tuple[float, int, int]] = []
        for number, copy in enumerate(self.copies):
            ready = self._copy_ready(copy)
            if copy.start is None and ready is not None and ready <= now:
                line.append((ready, 0, number))
        for k, start in enumerate(self.starts):
            ready = self._slice_ready(k)
            if start is None and ready is not None and ready <= now:
                line.append((ready, 1, k))
        claimed: set[str] = set()
        for _, kind, number in sorted(line):
            if kind == 0:
                copy = self.copies[number]
                needs = {place for place in (copy.source, copy.destination) if place != "host" and self.occupied}
                if not needs & claimed and all(self.free_at[device] <= now for device in needs):
                    copy.start = now
                    for device in needs:
                        self.free_at[device] = now + copy.seconds
                    return True
                claimed |= needs
            else:
                device = self.slices[number][1].split("@")[0]
                if device not in claimed and self.free_at[device] + self.switches[number][0] <= now:
                    self.starts[number] = now
                    self.free_at[device] = now + self.execution[number][0]
                    return True
                claimed.add(device)
        return False
