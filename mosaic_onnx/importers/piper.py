"""Workloads of Piper (Tarnawski, Narayanan and Phanishayee, NeurIPS 2021), as profiles of equal devices.

The file (github.com/msr-fiddle/piper, README) has ``maxDevices``, ``maxMemoryPerDevice`` and ``bandwidth`` in bytes
(per second), ``nodes`` with ways to run each (``TMPCs``, by degree of tensor parallelism) and ``edges`` with bytes.
Taken are the ways of degree 1 with one name (``vanilla``): data and tensor parallelism are not what a partition
decides.
"""

from __future__ import annotations

from pathlib import Path

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import HOST, Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.importers.ordering import topological
from mosaic_onnx.importers.reading import Fields, objects, read_json

FORM = "piper"
DEGREE = "1"


def import_piper(
    path: Path, *, device_count: int | None = None, way: str = "vanilla", time_unit_s: float = 1.0, in_flight: int = 1
) -> Profile:
    """Return a profile of a workload on devices ``gpu0`` …, each a link of ``bandwidth`` away from the others.

    Times are of a forward and a backward pass of one sample. A layer needs ``memoryUsageA`` · ``in_flight`` +
    ``memoryUsageB`` bytes, which all count against ``maxMemoryPerDevice``. The file gives the bytes of each edge: edges
    of a node with the same bytes carry one tensor, others another one.

    Args:
        path: the JSON file.
        device_count: in place of the file's ``maxDevices``.
        way: the name of the way to run each node (``vanilla`` or ``activation recomp``).
        time_unit_s: seconds of one unit of ``timePerSample``; Piper adds it to bytes / bandwidth as it is, hence 1.
        in_flight: samples whose activations are in memory at once.

    Raises:
        ModelError: the file does not have this format; the message names the place in it.
        UsageError: a number is out of its range.
    """
    if in_flight < 1 or not 0 < time_unit_s < float("inf"):
        raise UsageError(f"in_flight is {in_flight}, time_unit_s is {time_unit_s}: the least are 1 and above 0")
    whole = Fields(read_json(path, FORM), str(path))
    count = int(whole.number("maxDevices")) if device_count is None else device_count
    bandwidth = whole.number("bandwidth")
    if count < 1 or not bandwidth > 0:
        raise ModelError(f"{path}: {count} devices at {bandwidth:g} bytes/s", "both must be above 0")
    names = [f"gpu{number}" for number in range(count)]
    nodes = _nodes(whole)
    tensors = _tensors(whole, nodes)
    readers = {node: list(dict.fromkeys(r for each in made.values() for r in each)) for node, made in tensors.items()}
    order = topological(list(nodes), readers, str(path))
    inputs: dict[str, list[str]] = {node: [] for node in nodes}
    for source in order:
        for name, reading in zip(_names(source, tensors), tensors[source].values(), strict=True):
            for reader in reading:
                inputs[reader].append(name)
    layers = []
    for node in order:
        cost = _way(nodes[node], way)
        need = cost.number("memoryUsageA") * in_flight + cost.number("memoryUsageB")
        layers.append(
            ProfileLayer(
                name=f"node{node}",
                inputs=tuple(inputs[node]),
                outputs=_names(node, tensors) or (f"node{node}:0",),
                cost=dict.fromkeys(names, Cost(cost.number("timePerSample") * time_unit_s)),
                parameter_bytes=round(need),
                activation_bytes=0,  # counted in the memory that the file gives
                meta={"name": nodes[node].get("name")} if "name" in nodes[node] else {},
            )
        )
    tensor_bytes = {
        name: count for node in order for name, count in zip(_names(node, tensors), tensors[node], strict=True)
    }
    ends = [f"node{node}:0" for node in order if not tensors[node]]
    cap = int(whole.number("maxMemoryPerDevice"))
    return Profile(
        model_name=path.stem,
        devices=tuple(Device(name, memory_bytes=cap, activation_memory="sum") for name in names),
        tensor_bytes=tensor_bytes | dict.fromkeys(ends, 0),
        inputs=(),
        outputs=tuple(ends),
        layers=tuple(layers),
        copies=_copies(names, bandwidth),
        meta={"imported_from": FORM, "file": path.name, "way": way},
    )


def _nodes(whole: Fields) -> dict[str, Fields]:
    listed = whole.objects("nodes")
    nodes = {node.word("id"): node for node in listed}
    if len(nodes) < len(listed):
        raise ModelError(f"{whole.where}: two nodes have the same id", "Edges name nodes by id: it must be unique.")
    return nodes


def _way(node: Fields, way: str) -> Fields:
    """Return the way of that name at degree 1."""
    degrees = Fields(node.required("TMPCs"), f"{node.where}.TMPCs")
    ways = objects(degrees.required(DEGREE), f"{node.where}.TMPCs.{DEGREE}")
    found = next((one for one in ways if one.word("id") == way), None)
    if found is None:
        known = ", ".join(one.word("id") for one in ways)
        raise ModelError(f"{node.where}: has no way {way!r} at degree {DEGREE}", f"It has: {known or 'none'}.")
    return found


def _tensors(whole: Fields, nodes: dict[str, Fields]) -> dict[str, dict[int, list[str]]]:
    """Return the tensors of each node: {bytes: its readers}."""
    tensors: dict[str, dict[int, list[str]]] = {node: {} for node in nodes}
    for edge in whole.objects("edges"):
        source, destination = edge.word("sourceId"), edge.word("destId")
        for end, key in ((source, "sourceId"), (destination, "destId")):
            if end not in nodes:
                raise ModelError(f"{edge.where}.{key}: there is no node {end}", "Every edge must join two nodes.")
        readers = tensors[source].setdefault(round(edge.number("communicationCost")), [])
        if destination not in readers:
            readers.append(destination)
    return tensors


def _names(node: str, tensors: dict[str, dict[int, list[str]]]) -> tuple[str, ...]:
    """Return the names of the tensors that a node makes."""
    return tuple(f"node{node}:{number}" for number in range(len(tensors[node])))


def _copies(names: list[str], bandwidth: float) -> tuple[TransferCost, ...]:
    """Return links of one bandwidth between all devices; the way to host costs as much."""
    slope = 1.0 / bandwidth
    pairs = [(a, b) for a in names for b in names if a != b]
    pairs += [pair for name in names for pair in ((HOST, name), (name, HOST))]
    return tuple(TransferCost(source, destination, slope) for source, destination in pairs)
