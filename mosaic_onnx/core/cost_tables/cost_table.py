"""From a profile to the cost table, the arrays that the planner sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats, Ints
from mosaic_onnx.core.cost_tables.transfer_costs import TransferCosts, cheaper_direct
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.profiles import HOST, Profile, ProfileLayer, SwitchCost

INF = float("inf")


def cost_table(profile: Profile) -> CostTable:
    """Return the cost table of a profile that ``check_profile`` accepts; ``CostTable`` documents the arrays."""
    states, devices = profile.states, profile.devices
    tensor_names = tuple(profile.tensor_bytes)
    tensor_index = {name: t for t, name in enumerate(tensor_names)}
    layer_inputs = tuple(tuple(dict.fromkeys(tensor_index[name] for name in layer.inputs)) for layer in profile.layers)
    layer_outputs = tuple(tuple(tensor_index[name] for name in layer.outputs) for layer in profile.layers)
    tensor_bytes = np.fromiter(profile.tensor_bytes.values(), dtype=np.int64, count=len(tensor_names))
    producer, consumers = _flow(layer_inputs, layer_outputs, len(tensor_names))
    layer_s, layer_j = _layer_costs(profile)
    parameter_bytes, workspace_bytes, activation_bytes = _layer_bytes(profile)
    lines = TransferCosts(profile, tensor_bytes, tensor_index)
    direct_s, direct_j = cheaper_direct(lines)
    outputs = {tensor_index[name] for name in profile.outputs}
    return CostTable(
        layer_names=tuple(layer.name for layer in profile.layers),
        state_names=states,
        device_names=tuple(device.name for device in devices),
        tensor_names=tensor_names,
        state_device=np.array([d for d, device in enumerate(devices) for _ in device.states], dtype=np.int64),
        layer_s=layer_s,
        layer_j=layer_j,
        parameter_bytes=parameter_bytes,
        workspace_bytes=workspace_bytes,
        activation_bytes=activation_bytes,
        layer_inputs=layer_inputs,
        layer_outputs=layer_outputs,
        tensor_bytes=tensor_bytes,
        producer=producer,
        consumers=consumers,
        is_output=_flags(t in outputs for t in range(len(tensor_names))),
        group=_groups(profile.layers),
        own_memory=_flags(device.name in lines.named for device in devices),
        io_host=_flags(device.io == "host" for device in devices),
        activation_sum=_flags(device.activation_memory == "sum" for device in devices),
        slice_s=_floats(device.slice_seconds for device in devices),
        slice_j=_floats(device.slice_joules for device in devices),
        memory_bytes=_floats(device.memory_bytes for device in devices),
        slice_memory_bytes=_floats(device.slice_memory_bytes for device in devices),
        idle_w=_floats(device.idle_w for device in devices),
        to_host_s=lines.by_state(to_host=True, joules=False),
        to_host_j=lines.by_state(to_host=True, joules=True),
        from_host_s=lines.by_state(to_host=False, joules=False),
        from_host_j=lines.by_state(to_host=False, joules=True),
        direct_s=direct_s,
        direct_j=direct_j,
        switch_s=_switches(profile, joules=False),
        switch_j=_switches(profile, joules=True),
        segments=_segments(profile),
        copies_occupy_device=profile.copies_occupy_device,
        layer_error=_layer_errors(profile),
        exclusive=_exclusive(profile),
        max_slice_count=_slice_limits(profile),
        layer_switches=_layer_switches(profile),
        link_names=tuple("–".join(link.between) for link in profile.links),
        link_of=_link_of(profile),
        slowdown=_slowdown(profile),
    )


def _exclusive(profile: Profile) -> tuple[tuple[int, ...], ...]:
    """Return [D] the devices that exclude each device; empty where none do."""
    if not profile.exclusive:
        return ()
    index = {device.name: number for number, device in enumerate(profile.devices)}
    found: list[set[int]] = [set() for _ in profile.devices]
    for one, other in profile.exclusive:
        found[index[one]].add(index[other])
        found[index[other]].add(index[one])
    return tuple(tuple(sorted(each)) for each in found)


def _link_of(profile: Profile) -> dict[tuple[int, int], int]:
    """Return the link that a copy from a device to another holds; -1 stands for host."""
    numbers = {frozenset(link.between): number for number, link in enumerate(profile.links)}
    machines = {-1: HOST} | {d: device.machine or HOST for d, device in enumerate(profile.devices)}
    pairs = [(a, b) for a in machines for b in machines if machines[a] != machines[b]]
    return {(a, b): numbers[ends] for a, b in pairs if (ends := frozenset((machines[a], machines[b]))) in numbers}


def _slowdown(profile: Profile) -> tuple[tuple[float, ...], ...] | None:
    """Return [D, D] the factors; None where all are 1."""
    names = [device.name for device in profile.devices]
    rows = tuple(tuple(float(profile.slowdowns.get(a, {}).get(b, 1.0)) for b in names) for a in names)
    return rows if any(factor != 1.0 for row in rows for factor in row) else None


def _floats(values: Iterable[float | None]) -> Floats:
    """Return [D] numbers; a cap that is None is infinite."""
    return np.array([INF if value is None else value for value in values], dtype=np.float64)


def _flags(values: Iterable[bool]) -> Bools:
    """Return [D] or [T] flags."""
    return np.fromiter(values, dtype=np.bool_)


def _segments(profile: Profile) -> dict[tuple[int, int, int], tuple[float, float | None]]:
    """Return {(first layer, last layer, state): measured (seconds, joules)} of the measured slices."""
    index = {state: s for s, state in enumerate(profile.states)}
    return {(one.first, one.last, index[one.state]): (one.seconds, one.joules) for one in profile.segments}


def _flow(
    inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]], tensor_count: int
) -> tuple[Ints, tuple[tuple[int, ...], ...]]:
    """Return [T] the layer that makes each tensor, -1 for none; and the layers that read it."""
    producer = np.full(tensor_count, -1, dtype=np.int64)
    consumers: list[list[int]] = [[] for _ in range(tensor_count)]
    for number, (read, made) in enumerate(zip(inputs, outputs, strict=True)):
        for t in read:
            consumers[t].append(number)
        for t in made:
            producer[t] = number
    return producer, tuple(tuple(readers) for readers in consumers)


def _layer_costs(profile: Profile) -> tuple[Floats, Floats | None]:
    """Return [L, S] seconds and joules; inf where the state cannot run the layer or its device is not allowed to."""
    index = {state: s for s, state in enumerate(profile.states)}
    shape = len(profile.layers), len(index)
    seconds: list[list[float]] = []
    joules: list[list[float]] = []
    has_joules = False
    for layer in profile.layers:
        seconds.append([INF] * len(index))
        joules.append([INF] * len(index))
        row_s, row_j = seconds[-1], joules[-1]
        for state, cost in layer.cost.items():
            if cost is None or (layer.allowed is not None and device_of(state) not in layer.allowed):
                continue
            s = index[state]
            row_s[s] = cost.seconds
            if cost.joules is not None:
                row_j[s] = cost.joules
                has_joules = True
    layer_s = np.array(seconds, dtype=np.float64).reshape(shape)
    return layer_s, np.array(joules, dtype=np.float64).reshape(shape) if has_joules else None


def _layer_errors(profile: Profile) -> Floats | None:
    """Return [L, S] errors, 0 where none is given; None where there is none at all."""
    index = {state: s for s, state in enumerate(profile.states)}
    errors = np.zeros((len(profile.layers), len(index)))
    for number, layer in enumerate(profile.layers):
        for state, cost in layer.cost.items():
            if cost is not None and cost.error:
                errors[number, index[state]] = cost.error
    return errors if errors.any() else None


def _layer_bytes(profile: Profile) -> tuple[Ints, Ints, Ints]:
    """Return [L, S] bytes of parameters, workspace and activations; a state's cost overrides the layer's values."""
    index = {state: s for s, state in enumerate(profile.states)}
    shape = len(profile.layers), len(index)
    rows: tuple[list[list[int]], list[list[int]], list[list[int]]] = ([], [], [])
    for layer in profile.layers:
        activations = layer.activation_bytes
        if activations is None:
            activations = sum(profile.tensor_bytes[name] for name in layer.outputs)
        parameters, workspace, sums = (
            [own] * len(index) for own in (layer.parameter_bytes, layer.workspace_bytes, activations)
        )
        for state, cost in layer.cost.items():
            if cost is None:
                continue
            if cost.parameter_bytes is not None:
                parameters[index[state]] = cost.parameter_bytes
            if cost.workspace_bytes is not None:
                workspace[index[state]] = cost.workspace_bytes
            if cost.activation_bytes is not None:
                sums[index[state]] = cost.activation_bytes
        for kept, row in zip(rows, (parameters, workspace, sums), strict=True):
            kept.append(row)
    made = [np.array(kept, dtype=np.int64).reshape(shape) for kept in rows]
    return made[0], made[1], made[2]


def _groups(layers: Sequence[ProfileLayer]) -> Ints:
    """Return [L] group number, in order of first appearance; -1 for none."""
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(layer.group, len(numbers)) if layer.group else -1 for layer in layers], dtype=np.int64
    )


def _switches(profile: Profile, *, joules: bool) -> Floats:
    """Return [S, S] cost of changing a device's level."""
    index = {state: s for s, state in enumerate(profile.states)}
    costs = np.zeros((len(index), len(index)))
    for switch in profile.switches:
        pair = index[f"{switch.device}@{switch.source}"], index[f"{switch.device}@{switch.destination}"]
        costs[pair] = switch.joules if joules else switch.seconds
        if switch.layers:
            costs[pair] = min(_switch_row(profile, switch, joules=joules))
    return costs


def _switch_row(profile: Profile, switch: SwitchCost, *, joules: bool) -> list[float]:
    """Return [L] the cost of the switch before a slice that begins with each layer."""
    usual = switch.joules if joules else switch.seconds
    row = [usual]
    for layer in profile.layers:
        special = switch.layers.get(layer.name)
        value = None if special is None else special.joules if joules else special.seconds
        row.append(usual if value is None else value)
    return row[1:] or row


def _layer_switches(profile: Profile) -> dict[tuple[int, int], tuple[Floats, Floats]]:
    """Return the costs of switches that depend on the layer, by pair of states."""
    index = {state: s for s, state in enumerate(profile.states)}
    found = {}
    for switch in profile.switches:
        if switch.layers:
            pair = index[f"{switch.device}@{switch.source}"], index[f"{switch.device}@{switch.destination}"]
            seconds, joules = (np.array(_switch_row(profile, switch, joules=kind)) for kind in (False, True))
            found[pair] = seconds, joules
    return found


def _slice_limits(profile: Profile) -> Floats | None:
    """Return [D] the most slices of each device; None where none has a limit."""
    limits = _floats(device.max_slice_count for device in profile.devices)
    return limits if np.isfinite(limits).any() else None
