"""Random profiles with every feature of the format, chains and graphs; small whole numbers, so that sums are exact."""

from __future__ import annotations

import random
from collections.abc import Sequence

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import (
    Cost,
    MeasuredSlice,
    Profile,
    ProfileLayer,
    SwitchCost,
    TensorTransferCost,
    TransferCost,
)
from mosaic_onnx.files.profile_checks import check_profile


def random_profile(
    seed: int,
    *,
    chain: bool,
    layer_count: int,
    state_count: int,
    device_caps: bool = True,
    switches: bool = True,
    groups: bool = False,
) -> Profile:
    """A profile; each feature of the format is in it or not by chance.

    Args:
        seed: decides everything.
        chain: each layer reads only what the one before it made, and inputs of the model that no other layer reads.
        layer_count: how many layers.
        state_count: how many states over all devices.
        device_caps: whether devices may have ``memory_bytes``.
        switches: whether changing levels may cost something.
        groups: whether layers may be in groups.
    """
    draw = random.Random(seed)
    devices = _devices(draw, state_count, device_caps=device_caps)
    states = [state for device in devices for state in device.states]
    layers = _layers(draw, layer_count, chain=chain)
    joules = draw.random() < 0.6
    layers = [_with_costs(draw, layer, devices, joules=joules) for layer in layers]
    if groups:
        layers = [_replace_group(draw, layer) for layer in layers]
    made = [name for layer in layers for name in layer.outputs]
    inputs = dict.fromkeys(name for layer in layers for name in layer.inputs if name not in made)
    tensors = {name: draw.randint(0, 9) for name in (*inputs, *made)}
    last = layers[-1].outputs[0]
    outputs = [name for name in tensors if draw.random() < 0.15 or name == last]
    profile = Profile(
        "random",
        tuple(devices),
        tensors,
        tuple(inputs),
        tuple(outputs),
        tuple(layers),
        copies=tuple(_copies(draw, devices, list(tensors), joules=joules)),
        switches=tuple(_switches(draw, devices)) if switches and draw.random() < 0.6 else (),
        segments=tuple(_segments(draw, layer_count, states, joules=joules)) if draw.random() < 0.5 else (),
        copies_occupy_device=draw.random() < 0.3,
    )
    return check_profile(profile)


def _devices(draw: random.Random, state_count: int, *, device_caps: bool) -> list[Device]:
    devices: list[Device] = []
    left = state_count
    while left:
        count = draw.randint(1, left)
        left -= count
        levels = count if count > 1 else draw.randint(0, 1)
        devices.append(
            Device(
                f"d{len(devices)}",
                levels=tuple(Level(f"l{number}") for number in range(levels)),
                io=draw.choice(["resident", "host"]),
                slice_seconds=draw.choice([0, 0, draw.randint(1, 5)]),
                slice_joules=draw.choice([0, 0, draw.randint(1, 5)]),
                memory_bytes=draw.randint(10, 60) if device_caps and draw.random() < 0.3 else None,
                slice_memory_bytes=draw.randint(8, 40) if draw.random() < 0.3 else None,
                activation_memory=draw.choice(["live", "sum"]),
                idle_w=draw.choice([0, 0, 1]),
            )
        )
    return devices


def _layers(draw: random.Random, count: int, *, chain: bool) -> list[ProfileLayer]:
    layers: list[ProfileLayer] = []
    earlier: list[str] = []
    for number in range(count):
        near = list(layers[-1].outputs) if layers and chain else earlier
        read = [name for name in near if chain or draw.random() < max(0.3, 1 / (1 + len(near)))][: draw.randint(1, 3)]
        if not read and layers and not chain:
            read = [draw.choice(earlier)]
        if number == 0 or draw.random() < 0.2:
            read.append(f"x{number}")
        outputs = [f"t{number}_{i}" for i in range(draw.choice([1, 1, 1, 2]))]
        earlier += outputs + [name for name in read if name.startswith("x")]
        layers.append(
            ProfileLayer(
                f"layer{number}",
                inputs=tuple(dict.fromkeys(read)),
                outputs=tuple(outputs),
                parameter_bytes=draw.randint(0, 9),
                workspace_bytes=draw.choice([0, draw.randint(0, 9)]),
                activation_bytes=draw.choice([None, draw.randint(0, 9)]),
            )
        )
    return layers


def _with_costs(draw: random.Random, layer: ProfileLayer, devices: Sequence[Device], *, joules: bool) -> ProfileLayer:
    cost: dict[str, Cost | None] = {}
    for device in devices:
        for state in device.states:
            if draw.random() < 0.1:
                cost[state] = None
            elif draw.random() > 0.05:
                bytes_given = draw.random() < 0.2
                cost[state] = Cost(
                    draw.randint(0, 20),
                    draw.randint(0, 20) if joules else None,
                    parameter_bytes=draw.randint(0, 9) if bytes_given else None,
                    workspace_bytes=draw.randint(0, 9) if bytes_given else None,
                    activation_bytes=draw.randint(0, 9) if bytes_given else None,
                )
    names = [device.name for device in devices]
    if not any(cost.values()) and draw.random() < 0.9:  # most layers can run somewhere
        cost[draw.choice(devices).states[0]] = Cost(draw.randint(0, 20), draw.randint(0, 20) if joules else None)
    allowed = tuple(draw.sample(names, draw.randint(1, len(names)))) if draw.random() < 0.05 else None
    return _changed(layer, cost=cost, allowed=allowed)


def _replace_group(draw: random.Random, layer: ProfileLayer) -> ProfileLayer:
    return _changed(layer, group=draw.choice(["", "", "a", "b"]))


def _changed(layer: ProfileLayer, **fields: object) -> ProfileLayer:
    return ProfileLayer(**{**layer.__dict__, **fields})  # type: ignore[arg-type]


def _copies(draw: random.Random, devices: Sequence[Device], tensors: list[str], *, joules: bool) -> list[TransferCost]:
    own = [device for device in devices if draw.random() < 0.6]
    copies: list[TransferCost] = []

    def entry(source: str, destination: str) -> None:
        overrides = {
            name: TensorTransferCost(draw.choice([None, draw.randint(0, 9)]), draw.choice([None, draw.randint(0, 9)]))
            for name in tensors
            if draw.random() < 0.1
        }
        copies.append(
            TransferCost(
                source,
                destination,
                draw.choice([0, 0.5, 1]),
                draw.randint(0, 5),
                draw.choice([0, 0.5]) if joules else 0,
                draw.randint(0, 5) if joules else 0,
                overrides,
            )
        )

    for device in own:
        for pair in (("host", device.name), (device.name, "host")):
            entry(*pair)
        for state in device.states if device.levels else ():
            for pair in (("host", state), (state, "host")):
                if draw.random() < 0.3:
                    entry(*pair)
    for source in own:
        for destination in own:
            if source is not destination:
                ends = [(a, b) for a in {source.name, *source.states} for b in {destination.name, *destination.states}]
                for pair in sorted(ends):
                    if draw.random() < 0.25:
                        entry(*pair)
    return copies


def _switches(draw: random.Random, devices: Sequence[Device]) -> list[SwitchCost]:
    return [
        SwitchCost(device.name, source.name, destination.name, draw.randint(0, 6), draw.randint(0, 6))
        for device in devices
        for source in device.levels
        for destination in device.levels
        if source is not destination and draw.random() < 0.7
    ]


def _segments(draw: random.Random, layer_count: int, states: list[str], *, joules: bool) -> list[MeasuredSlice]:
    segments = {}
    for _ in range(draw.randint(1, 4)):
        first = draw.randrange(layer_count)
        last = draw.randint(first, layer_count - 1)
        state = draw.choice(states)
        given = draw.randint(0, 30) if joules and draw.random() < 0.6 else None
        segments[first, last, state] = MeasuredSlice(
            first, last, state, draw.randint(0, 15 * (last - first + 1)), given
        )
    return list(segments.values())
