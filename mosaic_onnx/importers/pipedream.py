"""PipeDream's ``graph.txt`` (Narayanan et al., SOSP 2019), as a profile.

There is one node per line, ``node4 -- Linear(…) -- forward_compute_time=0.07, backward_compute_time=6.9,
activation_size=6291456.0, parameter_size=132382720.0 -- stage_id=0`` (the stage is optional, several outputs are
written ``[1.0; 2.0]``), and one edge per line, ``<tab>node1 -- node4``. Times are in ms, sizes in bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import HOST, Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.importers.ordering import topological
from mosaic_onnx.importers.reading import nonnegative, read_text

FORM = "PipeDream graph"
_SEPARATOR = " -- "
_KEYS = ("forward_compute_time", "backward_compute_time", "activation_size", "parameter_size")


@dataclass(frozen=True)
class _Node:
    """One node line."""

    name: str
    description: str
    forward_s: float
    backward_s: float
    activation_bytes: int
    parameter_bytes: int


def import_pipedream(
    path: Path, *, device_count: int = 1, bandwidth_bytes_per_s: float | None = None, backward: bool = False
) -> Profile:
    """Return a profile on ``device_count`` equal devices ``gpu0`` … (PipeDream profiles one).

    Args:
        path: the ``graph.txt``.
        device_count: number of devices of the profiled kind.
        bandwidth_bytes_per_s: between any two of them and between each and host; the file has none, so it must be
            given where there are several devices.
        backward: include the backward pass (training).

    Raises:
        ModelError: the file does not have this format; the message names the line.
        UsageError: several devices without a bandwidth, or a bandwidth that is not positive.
    """
    if device_count < 1:
        raise UsageError(f"device count {device_count}: at least one device is needed", "Give 1 or more.")
    if bandwidth_bytes_per_s is not None and bandwidth_bytes_per_s <= 0:
        raise UsageError(f"bandwidth {bandwidth_bytes_per_s} B/s: must be above 0", "Give bytes per second.")
    if device_count > 1 and bandwidth_bytes_per_s is None:
        raise UsageError(
            "a PipeDream graph does not say how fast its devices are joined",
            "Give the bandwidth between the devices in bytes per second.",
        )
    nodes, readers = _parse(path)
    order = topological(list(nodes), readers, str(path))
    devices = [f"gpu{index}" for index in range(device_count)]
    inputs: dict[str, list[str]] = {name: [] for name in nodes}
    for name in order:
        for reader in readers[name]:
            inputs[reader].append(f"{name}:0")
    return Profile(
        model_name=path.stem,
        devices=tuple(Device(name) for name in devices),
        tensor_bytes={f"{name}:0": nodes[name].activation_bytes for name in order},
        inputs=(),
        outputs=tuple(f"{name}:0" for name in order if not readers[name]),
        layers=tuple(_layer(nodes[name], tuple(inputs[name]), devices, backward) for name in order),
        copies=_copies(devices, bandwidth_bytes_per_s),
        meta={"imported_from": "pipedream", "file": path.name, "backward": backward},
    )


def _layer(node: _Node, inputs: tuple[str, ...], devices: list[str], backward: bool) -> ProfileLayer:
    """Return one node as a layer; every device is equal."""
    seconds = node.forward_s + (node.backward_s if backward else 0.0)
    operator = re.match(r"\w+", node.description)
    return ProfileLayer(
        name=node.name,
        inputs=inputs,
        outputs=(f"{node.name}:0",),
        cost={device: Cost(seconds) for device in devices},
        parameter_bytes=node.parameter_bytes,
        op_types=(operator.group(),) if operator else (),
        meta={"description": node.description},
    )


def _copies(devices: list[str], bandwidth_bytes_per_s: float | None) -> tuple[TransferCost, ...]:
    """Return transfer costs between host and every device, and between the devices."""
    if bandwidth_bytes_per_s is None:
        return ()
    places = [HOST, *devices]
    return tuple(
        TransferCost(source, destination, seconds_per_byte=1 / bandwidth_bytes_per_s)
        for source in places
        for destination in places
        if source != destination
    )


def _parse(path: Path) -> tuple[dict[str, _Node], dict[str, list[str]]]:
    """Return {name: node} and {name: nodes that read its outputs}."""
    nodes: dict[str, _Node] = {}
    readers: dict[str, list[str]] = {}
    edges: list[tuple[str, str, str]] = []
    for number, line in enumerate(read_text(path, FORM).splitlines(), start=1):
        where = f"{path}: line {number}"
        if not line.strip():
            continue
        parts = line.strip().split(_SEPARATOR)
        if line[0] in "\t ":
            if len(parts) != 2:
                raise ModelError(f"{where}: an edge is '<tab>node1 -- node2', not '{line.strip()[:60]}'", _HINT)
            edges.append((parts[0], parts[1], where))
            continue
        node = _node(parts, where)
        if node.name in nodes:
            raise ModelError(f"{where}: node '{node.name}' occurs twice", "Node names must be unique.")
        nodes[node.name] = node
        readers[node.name] = []
    if not nodes:
        raise ModelError(f"{path}: holds no node", _HINT)
    for source, destination, where in edges:
        for end in (source, destination):
            if end not in nodes:
                raise ModelError(f"{where}: there is no node '{end}'", "Every edge must join two nodes.")
        if destination not in readers[source]:
            readers[source].append(destination)
    return nodes, readers


_HINT = "A PipeDream graph.txt has a line for every node and an indented line for every edge."


def _node(parts: list[str], where: str) -> _Node:
    """Return the node of one line; its description may contain the separator."""
    last = len(parts) - 1 if not parts[-1].startswith("stage_id=") else len(parts) - 2
    if last < 2:
        raise ModelError(f"{where}: a node is 'name -- description -- times and sizes'", _HINT)
    values: dict[str, str] = {}
    for pair in re.split(r",\s*(?=\w+=)", parts[last]):
        key, _, value = pair.partition("=")
        values[key.strip()] = value.strip()
    for key in _KEYS:
        if key not in values:
            raise ModelError(f"{where}: '{key}' is missing", _HINT)
    return _Node(
        name=parts[0],
        description=_SEPARATOR.join(parts[1:last]),
        forward_s=nonnegative(values["forward_compute_time"], f"{where}: forward_compute_time") / 1000,
        backward_s=nonnegative(values["backward_compute_time"], f"{where}: backward_compute_time") / 1000,
        activation_bytes=_sizes(values["activation_size"], f"{where}: activation_size"),
        parameter_bytes=round(nonnegative(values["parameter_size"], f"{where}: parameter_size")),
    )


def _sizes(text: str, where: str) -> int:
    """Return the bytes of one output, or of several (``[6291456.0; 65536.0]``) together."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return round(sum(nonnegative(part.strip(), where) for part in inner.split(";") if part.strip()))
