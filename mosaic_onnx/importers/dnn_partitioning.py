"""Device-placement workloads of msr-fiddle/dnn-partitioning (Tarnawski et al., NeurIPS 2020), as profiles.

The format: ``maxFPGAs`` equal accelerators of ``maxSizePerFPGA`` bytes and ``maxCPUs`` CPUs; nodes with a time in ms
on each kind; on every edge the ms that the tensor of its source needs between an accelerator and host memory, the
same on all edges of one source, paid once per tensor and accelerator.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import HOST, Cost, Profile, ProfileLayer, TensorTransferCost, TransferCost
from mosaic_onnx.importers.ordering import topological
from mosaic_onnx.importers.reading import Fields, read_json

FORM = "dnn-partitioning"


@dataclass(frozen=True)
class _Edges:
    """The file's edges by source: the readers of its tensor, and the ms of transferring it."""

    readers: dict[str, list[str]]
    cost_ms: dict[str, float]


@dataclass(frozen=True)
class _Graph:
    """The file's nodes by id, in topological order, with their names as layers and as tensors."""

    nodes: dict[str, Fields]
    edges: _Edges
    layer_name: dict[str, str]
    tensor_name: dict[str, str]


def import_dnn_partitioning(path: Path, *, device_count: int | None = None) -> Profile:
    """Return a profile of the workload: accelerators ``acc0`` … with their own memory, and ``cpu`` in host memory.

    Sizes become parameter bytes, ``maxSizePerFPGA`` the accelerators' memory cap, colour classes of two or more nodes
    groups, edge costs the time of both directions (tensors have no bytes in this format). A layer's
    ``meta`` tells whether it belongs to the backward pass, which planning ignores.

    Args:
        path: the JSON file.
        device_count: accelerators, in place of the file's ``maxFPGAs``.

    Raises:
        ModelError: the file does not have this format; the message names the place in it.
    """
    whole = Fields(read_json(path, FORM), str(path))
    graph = _graph(whole)
    accelerators, cpus = _device_names(whole, device_count)
    cap_bytes = int(whole.number("maxSizePerFPGA"))
    return Profile(
        model_name=path.stem,
        devices=(*(Device(name, memory_bytes=cap_bytes) for name in accelerators), *(Device(name) for name in cpus)),
        tensor_bytes=dict.fromkeys(graph.tensor_name.values(), 0),
        inputs=(),
        outputs=tuple(graph.tensor_name[node] for node in graph.nodes if node not in graph.edges.readers),
        layers=_layers(graph, accelerators, cpus),
        copies=_copies(graph, accelerators),
        meta={"imported_from": FORM, "file": path.name},
    )


def _graph(whole: Fields) -> _Graph:
    """Return the checked nodes and edges."""
    listed = whole.objects("nodes")
    nodes = {node.word("id"): node for node in listed}
    if len(nodes) < len(listed):
        raise ModelError(f"{whole.where}: two nodes have the same id", "Edges name nodes by id: it must be unique.")
    edges = _edges(whole, nodes)
    order = topological(list(nodes), edges.readers, whole.where)
    names = _layer_names(nodes)
    return _Graph(
        nodes={node: nodes[node] for node in order},
        edges=edges,
        layer_name=names,
        tensor_name={node: f"{names[node]}:0" for node in order},
    )


def _edges(whole: Fields, nodes: dict[str, Fields]) -> _Edges:
    """Return the edges by source; parallel edges count once, unequal costs of one tensor are an error."""
    readers: dict[str, list[str]] = {}
    cost_ms: dict[str, float] = {}
    for edge in whole.objects("edges"):
        source, destination = edge.word("sourceId"), edge.word("destId")
        for end, key in ((source, "sourceId"), (destination, "destId")):
            if end not in nodes:
                raise ModelError(f"{edge.where}.{key}: there is no node {end}", "Every edge must join two nodes.")
        cost = edge.number("cost", 0.0)
        if cost_ms.setdefault(source, cost) != cost:
            raise ModelError(
                f"{edge.where}.cost: {cost} ms, but another edge of node {source} says {cost_ms[source]} ms",
                "A node makes one tensor, which costs the same wherever it goes.",
            )
        if destination not in readers.setdefault(source, []):
            readers[source].append(destination)
    return _Edges(readers, cost_ms)


def _device_names(whole: Fields, device_count: int | None) -> tuple[list[str], list[str]]:
    """Return the names of the accelerators and of the CPUs."""
    accelerator_count = int(whole.number("maxFPGAs")) if device_count is None else device_count
    cpu_count = int(whole.number("maxCPUs", 1.0))
    if accelerator_count + cpu_count == 0:
        raise ModelError(f"{whole.where}: maxFPGAs and maxCPUs are both 0", "A plan needs a device.")
    cpus = ["cpu"] if cpu_count == 1 else [f"cpu{index}" for index in range(cpu_count)]
    return [f"acc{index}" for index in range(accelerator_count)], cpus


def _layer_names(nodes: dict[str, Fields]) -> dict[str, str]:
    """Return {node id: layer name}: the node's own name where all names exist and are unique, else ``node<id>``."""
    names = {node: str(fields.get("name") or "") for node, fields in nodes.items()}
    if "" in names.values() or len(set(names.values())) < len(names):
        return {node: f"node{node}" for node in nodes}
    return names


def _layers(graph: _Graph, accelerators: list[str], cpus: list[str]) -> tuple[ProfileLayer, ...]:
    """Return the nodes as layers, in topological order."""
    nodes = graph.nodes
    colour_counts = Counter(fields.word("colorClass") for fields in nodes.values() if "colorClass" in fields)
    inputs: dict[str, list[str]] = {node: [] for node in nodes}
    for source in nodes:
        for reader in graph.edges.readers.get(source, ()):
            inputs[reader].append(graph.tensor_name[source])
    layers = []
    for node, fields in nodes.items():
        cost = {cpu: Cost(fields.number("cpuLatency") / 1000) for cpu in cpus}
        if fields.flag("supportedOnFpga", True):
            cost |= {name: Cost(fields.number("fpgaLatency") / 1000) for name in accelerators}
        colour = fields.word("colorClass") if "colorClass" in fields else ""
        layers.append(
            ProfileLayer(
                name=graph.layer_name[node],
                inputs=tuple(inputs[node]),
                outputs=(graph.tensor_name[node],),
                cost=cost,
                parameter_bytes=round(fields.number("size", 0.0)),
                group=f"colour{colour}" if colour_counts[colour] > 1 else "",
                meta={"backward": True} if fields.flag("isBackwardNode", False) else {},
            )
        )
    return tuple(layers)


def _copies(graph: _Graph, accelerators: list[str]) -> tuple[TransferCost, ...]:
    """Return transfer costs between host and every accelerator, for each tensor by its edges."""
    seconds = {
        graph.tensor_name[node]: TensorTransferCost(seconds=ms / 1000) for node, ms in graph.edges.cost_ms.items()
    }
    return tuple(
        TransferCost(source, destination, tensors=seconds)
        for name in accelerators
        for source, destination in ((HOST, name), (name, HOST))
    )
