"""Random profiles for the planner's tests: graphs, devices and costs, with as many features of the format as asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer, SwitchCost, TransferCost


@dataclass(frozen=True)
class Kind:
    """The features that a random profile may have."""

    layers: int
    devices: int
    levels: int = 1
    caps: bool = False
    segments: bool = False
    switches: bool = False
    overheads: bool = False
    io_host: bool = False
    direct: bool = False
    state_copies: bool = False
    groups: bool = False
    energy: bool = False
    unsupported: float = 0.1
    reach: int = 3
    """The largest distance back that a layer reads: small values keep the graph narrow."""
    inputs_per_layer: int = 2


EVERYTHING = Kind(
    layers=5,
    devices=2,
    levels=2,
    caps=True,
    segments=True,
    switches=True,
    overheads=True,
    io_host=True,
    direct=True,
    state_copies=True,
    groups=True,
    energy=True,
)


def random_profile(rng: np.random.Generator, kind: Kind) -> Profile:
    """A profile of the kind; device 0 always shares host's memory and runs every layer."""
    devices = tuple(_device(rng, kind, index) for index in range(kind.devices))
    states = [state for device in devices for state in device.states]
    layers = _layers(rng, kind, states)
    read = {t for layer in layers for t in layer.inputs}
    made = [t for layer in layers for t in layer.outputs]
    outputs = tuple(t for t in made if t not in read or rng.random() < 0.15)
    inputs = tuple(sorted(read - set(made)))
    tensors = {t: int(rng.integers(1, 100)) for t in (*inputs, *made)}
    profile = Profile("random", devices, tensors, inputs, outputs, layers, copies=_copies(rng, kind, devices))
    if kind.switches:
        profile = replace(profile, switches=_switches(rng, devices, kind.energy))
    if kind.segments:
        profile = replace(profile, segments=_segments(rng, profile, states, kind.energy))
    return profile


def random_chain(rng: np.random.Generator, kind: Kind) -> Profile:
    """A profile of the kind in which each layer reads what the one before makes, and nothing else."""
    profile = random_profile(rng, kind)
    layers = tuple(
        replace(layer, inputs=(profile.layers[index - 1].outputs[0] if index else "x0",), outputs=layer.outputs[:1])
        for index, layer in enumerate(profile.layers)
    )
    tensors = {"x0": 10} | {layer.outputs[0]: profile.tensor_bytes[layer.outputs[0]] for layer in layers}
    return replace(profile, layers=layers, tensor_bytes=tensors, inputs=("x0",), outputs=layers[-1].outputs)


def _device(rng: np.random.Generator, kind: Kind, index: int) -> Device:
    levels = tuple(Level(f"l{n}", 1e9 * (n + 1), 1.0) for n in range(kind.levels)) if kind.levels > 1 else ()
    capped = kind.caps and index > 0
    return Device(
        name=f"d{index}",
        levels=levels,
        io="host" if kind.io_host and index and rng.random() < 0.5 else "resident",
        slice_seconds=float(rng.integers(0, 5)) if kind.overheads else 0.0,
        slice_joules=float(rng.integers(0, 5)) if kind.overheads and kind.energy else 0.0,
        memory_bytes=int(rng.integers(100, 400)) if capped and rng.random() < 0.7 else None,
        slice_memory_bytes=int(rng.integers(80, 350)) if capped and rng.random() < 0.7 else None,
        activation_memory="sum" if kind.caps and rng.random() < 0.3 else "live",
        idle_w=float(rng.integers(0, 3)) if kind.energy else 0.0,
    )


def _layers(rng: np.random.Generator, kind: Kind, states: list[str]) -> tuple[ProfileLayer, ...]:
    layers: list[ProfileLayer] = []
    for index in range(kind.layers):
        near = [t for layer in layers[-kind.reach :] for t in layer.outputs]
        count = int(rng.integers(1, kind.inputs_per_layer + 1))
        reads = [str(t) for t in rng.choice(near, min(count, len(near)), replace=False)] if near else []
        if not reads or rng.random() < 0.1:
            reads.append(f"x{int(rng.integers(0, 2))}")
        outputs = tuple(f"t{index}{suffix}" for suffix in ("ab" if rng.random() < 0.15 else "a"))
        cost = {
            state: Cost(float(rng.integers(1, 20)), float(rng.integers(1, 20)) if kind.energy else None)
            for state in states
            if state.startswith("d0") or rng.random() >= kind.unsupported
        }
        layers.append(
            ProfileLayer(
                f"layer{index}",
                tuple(dict.fromkeys(reads)),
                outputs,
                cost,
                parameter_bytes=int(rng.integers(0, 60)),
                workspace_bytes=int(rng.integers(0, 20)),
                group="g" if kind.groups and rng.random() < 0.3 else "",
            )
        )
    return tuple(layers)


def _copies(rng: np.random.Generator, kind: Kind, devices: tuple[Device, ...]) -> tuple[TransferCost, ...]:
    def line(source: str, destination: str) -> TransferCost:
        slope, base = float(rng.integers(0, 10)) / 100, float(rng.integers(0, 6))
        energy = (float(rng.integers(0, 10)) / 100, float(rng.integers(0, 6))) if kind.energy else (0.0, 0.0)
        return TransferCost(source, destination, slope, base, *energy)

    copies = []
    own = [device for index, device in enumerate(devices) if index and rng.random() < 0.85]
    for device in own:
        copies += [line("host", device.name), line(device.name, "host")]
        if kind.state_copies and device.levels:
            copies += [line("host", device.states[0]), line(device.states[-1], "host")]
    if kind.direct:
        resident = [device for device in own if device.io == "resident"]
        copies += [line(a.name, b.name) for a in resident for b in resident if a is not b and rng.random() < 0.6]
    return tuple(copies)


def _switches(rng: np.random.Generator, devices: tuple[Device, ...], energy: bool) -> tuple[SwitchCost, ...]:
    return tuple(
        SwitchCost(device.name, a.name, b.name, float(rng.integers(0, 6)), float(rng.integers(0, 6)) if energy else 0.0)
        for device in devices
        for a in device.levels
        for b in device.levels
        if a is not b and rng.random() < 0.8
    )


def _segments(rng: np.random.Generator, profile: Profile, states: list[str], energy: bool) -> tuple[MeasuredSlice, ...]:
    count = len(profile.layers)
    segments = {}
    for _ in range(3):
        first = int(rng.integers(0, count))
        last = int(rng.integers(first, min(count, first + 3)))
        state = str(rng.choice(states))
        joules = float(rng.integers(1, 30)) if energy and rng.random() < 0.5 else None
        segments[first, last, state] = MeasuredSlice(first, last, state, float(rng.integers(1, 30)), joules)
    return tuple(segments.values())
