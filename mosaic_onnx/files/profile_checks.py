"""Checks of a profile beyond the types of its values: names, references, order, completeness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import HOST, Profile


def check_profile(profile: Profile, what: str = "profile") -> Profile:
    """Return the profile if it is consistent.

    Args:
        profile: the profile.
        what: what to call it in errors.

    Raises:
        ModelError: naming the path of the first key that is wrong.
    """
    for check in (_extent, _devices, _machines, _flow, _layers, _copies, _switches, _segments):
        for path, reason in check(profile):
            raise ModelError(f"{what}: {path}: {reason}")
    return profile


Complaint = tuple[str, str]
"""(path of the key, the problem)"""
MOST_COSTS = 20_000_000
"""Layers times states: the cost table holds about eight arrays of so many figures, 1.3 GB."""


def _extent(profile: Profile) -> Iterator[Complaint]:
    """Yield that the cost table would not fit into memory."""
    layer_count, state_count = len(profile.layers), sum(max(1, len(device.levels)) for device in profile.devices)
    if layer_count * state_count > MOST_COSTS:
        yield "layers", f"{layer_count} layers in {state_count} states are more than {MOST_COSTS:,} costs"


def _devices(profile: Profile) -> Iterator[Complaint]:
    """Yield problems of the names of devices and levels."""
    yield from _repeated("devices", ".name", (device.name for device in profile.devices))
    for d, device in enumerate(profile.devices):
        yield from _bad_name(f"devices[{d}].name", device.name)
        if device.name == HOST:
            yield f"devices[{d}].name", "host is no device's name: it is the place of the model's inputs and outputs"
        yield from _repeated(f"devices[{d}].levels", ".name", (level.name for level in device.levels))
        for number, level in enumerate(device.levels):
            yield from _bad_name(f"devices[{d}].levels[{number}].name", level.name)
    names = {device.name for device in profile.devices}
    for number, (one, other) in enumerate(profile.exclusive):
        unknown = next((name for name in (one, other) if name not in names), None)
        if unknown is not None:
            yield f"exclusive[{number}]", f"no device is called {unknown!r}"
        if one == other:
            yield f"exclusive[{number}]", f"{one!r} stands twice"


def _machines(profile: Profile) -> Iterator[Complaint]:
    """Yield links between machines that no device is on, machines without a link to host, wrong slow-downs."""
    machines = {device.machine for device in profile.devices if device.machine}
    names = {device.name for device in profile.devices}
    for d, device in enumerate(profile.devices):
        if device.machine == HOST:
            yield f"devices[{d}].machine", f"leave it out: {HOST} is the machine of devices that name none"
    seen: dict[frozenset[str], int] = {}
    for number, link in enumerate(profile.links):
        for place, name in enumerate(link.between):
            if name != HOST and name not in machines:
                yield f"links[{number}].between[{place}]", f"no device is on machine {name!r}"
        if link.between[0] == link.between[1]:
            yield f"links[{number}].between", f"both ends are {link.between[0]!r}"
        for name in link.tensors:
            if name not in profile.tensor_bytes:
                yield f"links[{number}].tensors.{name}", "unknown tensor"
        before = seen.setdefault(frozenset(link.between), number)
        if before != number:
            yield f"links[{number}].between", f"links[{before}] already joins these machines"
    for machine in sorted(machines):
        if frozenset((HOST, machine)) not in seen:
            yield "links", f"machine {machine!r} needs a link to {HOST}, where the model's inputs and outputs live"
    for device_name, row in profile.slowdowns.items():
        for other in row:
            if device_name not in names or other not in names:
                yield f"slowdowns.{device_name}.{other}", "names no device of the profile"
            if other == device_name:
                yield f"slowdowns.{device_name}.{other}", "a device does not slow itself"
            if not row[other] >= 1:
                yield f"slowdowns.{device_name}.{other}", f"{row[other]!r} is not a factor from 1 on"
    machine_of = {device.name: device.machine or HOST for device in profile.devices}
    for number, copy in enumerate(profile.copies):
        ends = [machine_of.get(device_of(place)) for place in (copy.source, copy.destination)]
        if None not in ends and ends[0] != ends[1] and frozenset(ends) not in seen:
            yield f"copies[{number}]", f"no link joins machines {ends[0]!r} and {ends[1]!r}"


def _flow(profile: Profile) -> Iterator[Complaint]:
    """Yield tensors that are unknown, produced twice, or read before they are produced."""
    yield from _repeated("layers", ".name", (layer.name for layer in profile.layers))
    yield from _repeated("inputs", "", profile.inputs)
    yield from _repeated("outputs", "", profile.outputs)
    yield from _unknown_tensors("inputs", profile.inputs, profile)
    makers = {name: "a model input" for name in profile.inputs}
    all_makers = {name: layer.name for layer in profile.layers for name in layer.outputs}
    for number, layer in enumerate(profile.layers):
        path = f"layers[{number}]"
        yield from _unknown_tensors(f"{path}.inputs", layer.inputs, profile)
        for i, name in enumerate(layer.inputs):
            if name in makers:
                continue
            maker = all_makers.get(name)
            if maker is None:
                yield f"{path}.inputs[{i}]", f"no layer makes tensor {name!r} and it is not a model input"
            yield (
                f"{path}.inputs[{i}]",
                f"not a topological order: layer {maker!r} makes tensor {name!r} and comes later",
            )
        yield from _unknown_tensors(f"{path}.outputs", layer.outputs, profile)
        for i, name in enumerate(layer.outputs):
            if name in makers:
                yield f"{path}.outputs[{i}]", f"tensor {name!r} is made twice, first by {makers[name]}"
            makers[name] = f"layer {layer.name!r}"
    yield from _unknown_tensors("outputs", profile.outputs, profile)
    for i, name in enumerate(profile.outputs):
        if name not in makers:
            yield f"outputs[{i}]", f"no layer makes tensor {name!r} and it is not a model input"


def _layers(profile: Profile) -> Iterator[Complaint]:
    """Yield references to unknown states and devices, and joules that only some costs have."""
    states, devices = set(profile.states), {device.name for device in profile.devices}
    first_with_joules: bool | None = None
    for number, layer in enumerate(profile.layers):
        path = f"layers[{number}]"
        for state, cost in layer.cost.items():
            if state not in states:
                yield f"{path}.cost.{state}", f"unknown state; the states are {_listed(profile.states)}"
            if cost is None:
                continue
            if first_with_joules is None:
                first_with_joules = cost.joules is not None
            elif first_with_joules != (cost.joules is not None):
                yield f"{path}.cost.{state}.joules", "joules are given for all costs or for none"
        for state in layer.reasons:
            if state not in states:
                yield f"{path}.reasons.{state}", f"unknown state; the states are {_listed(profile.states)}"
        for i, name in enumerate(layer.allowed or ()):
            if name not in devices:
                yield f"{path}.allowed[{i}]", f"unknown device {name!r}; the devices are {_listed(sorted(devices))}"


def _copies(profile: Profile) -> Iterator[Complaint]:
    """Yield unknown places, repeated pairs, and devices with a memory of their own without entries to and from host."""
    places = {HOST, *profile.states, *(device.name for device in profile.devices)}
    pairs: dict[tuple[str, str], int] = {}
    for number, copy in enumerate(profile.copies):
        path = f"copies[{number}]"
        for key, name in (("from", copy.source), ("to", copy.destination)):
            if name not in places:
                yield f"{path}.{key}", f"unknown device or state {name!r}"
        if device_of(copy.source) == device_of(copy.destination):
            yield f"{path}.to", f"from and to are the same place ({device_of(copy.source)})"
        before = pairs.setdefault((copy.source, copy.destination), number)
        if before != number:
            yield path, f"copies[{before}] is already from {copy.source} to {copy.destination}"
        for name in copy.tensors:
            if name not in profile.tensor_bytes:
                yield f"{path}.tensors.{name}", "unknown tensor"
    named = {device_of(place) for pair in pairs for place in pair}
    for device in profile.devices:
        for state in device.states if device.name in named else ():
            for source, destination in ((HOST, state), (state, HOST)):
                devices = device_of(source), device_of(destination)
                if (source, destination) not in pairs and devices not in pairs:
                    yield (
                        "copies",
                        f"device {device.name} has its own memory, since a copy names it, "
                        f"and needs an entry from {source} to {destination}",
                    )


def _switches(profile: Profile) -> Iterator[Complaint]:
    """Yield switches with unknown devices or levels, or between equal levels, and repeated ones."""
    levels = {device.name: {level.name for level in device.levels} for device in profile.devices}
    layers = {layer.name for layer in profile.layers}
    seen: dict[tuple[str, str, str], int] = {}
    for number, switch in enumerate(profile.switches):
        path = f"switches[{number}]"
        if switch.device not in levels:
            yield f"{path}.device", f"unknown device {switch.device!r}"
        for key, name in (("from", switch.source), ("to", switch.destination)):
            if name not in levels[switch.device]:
                yield f"{path}.{key}", f"device {switch.device} has no level {name!r}"
        if switch.source == switch.destination:
            yield f"{path}.to", "from and to are the same level"
        for name in switch.layers:
            if name not in layers:
                yield f"{path}.layers.{name}", "no layer is called so"
        before = seen.setdefault((switch.device, switch.source, switch.destination), number)
        if before != number:
            yield path, f"switches[{before}] is already the same change"


def _segments(profile: Profile) -> Iterator[Complaint]:
    """Yield measured slices with unknown layers or states, and repeated ones."""
    seen: dict[tuple[int, int, str], int] = {}
    for number, segment in enumerate(profile.segments):
        path = f"segments[{number}]"
        if segment.last >= len(profile.layers):
            yield f"{path}.last", f"there is no layer {segment.last}: the last is {len(profile.layers) - 1}"
        if segment.first > segment.last:
            yield f"{path}.first", f"first ({segment.first}) comes after last ({segment.last})"
        if segment.state not in profile.states:
            yield f"{path}.state", f"unknown state {segment.state!r}; the states are {_listed(profile.states)}"
        before = seen.setdefault((segment.first, segment.last, segment.state), number)
        if before != number:
            yield path, f"segments[{before}] is already the same slice"


def _bad_name(path: str, name: str) -> Iterator[Complaint]:
    if "@" in name:
        yield path, f"'@' may not be part of a name, since it joins a device's name to a level's: {name!r}"


def _repeated(path: str, key: str, names: Iterable[str]) -> Iterator[Complaint]:
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        before = seen.setdefault(name, number)
        if before != number:
            yield f"{path}[{number}]{key}", f"{name!r} is already at {path}[{before}]"


def _unknown_tensors(path: str, names: Iterable[str], profile: Profile) -> Iterator[Complaint]:
    for number, name in enumerate(names):
        if name not in profile.tensor_bytes:
            yield f"{path}[{number}]", f"unknown tensor {name!r}: it is not in tensors"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
