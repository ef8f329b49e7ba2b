"""TensorRT's ``trtexec --exportProfile`` JSON, with ``--exportLayerInfo`` where it is given, as a profile.

The profile is a list: ``{"count": 625}``, then for every layer ``{"name": …, "timeMs": …, "averageMs": …, "medianMs":
…, "percentage": …}`` (``medianMs`` since 8.5). The layer information is an object whose ``Layers`` name the tensors
that each layer reads and makes, with ``Dimensions`` and ``Format/Datatype`` (only with detailed profiling verbosity;
otherwise its layers are bare names).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import Profile, ProfileLayer
from mosaic_onnx.importers.ordering import topological
from mosaic_onnx.importers.reading import Fields, nonnegative, objects, read_json, unique_names
from mosaic_onnx.importers.timed_layers import TimedLayer, chain_profile, profile_layer

FORM = "TensorRT profile"
_ELEMENT_BYTES = {"FP32": 4, "INT32": 4, "INT64": 8, "FP16": 2, "BF16": 2, "INT8": 1, "FP8": 1, "UINT8": 1, "BOOL": 1}
_DATATYPE = re.compile(r"FP32|INT32|INT64|BF16|FP16|UINT8|INT8|FP8|BOOL", re.IGNORECASE)


@dataclass(frozen=True)
class _Ends:
    """The inputs and outputs of one layer, and its type."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    op_type: str


def import_tensorrt(path: Path, *, layer_info: Path | str | None = None, device: str = "tensorrt") -> Profile:
    """Return a profile with one device.

    Args:
        path: the ``--exportProfile`` file.
        layer_info: the ``--exportLayerInfo`` file of the same engine; without it the layers form a chain, and
            ``meta.dataflow`` says so.
        device: name of the device.

    Raises:
        ModelError: a file does not have its format, or the two do not belong together.
    """
    layers = _timed_layers(path, device)
    meta: dict[str, object] = {"imported_from": "tensorrt", "file": path.name}
    if layer_info is None:
        return chain_profile(path.stem, [device], layers, 0, meta)
    graph = Path(layer_info)
    meta["layer_info"] = graph.name
    return _with_graph(path, graph, layers, device, meta)


def _timed_layers(path: Path, device: str) -> list[TimedLayer]:
    """Return the layers of the profile, in the engine's order."""
    entries = objects(read_json(path, FORM), str(path))
    timed = [entry for entry in entries if "name" in entry]
    if not timed:
        raise ModelError(f"{path}: holds no layer with a name", "Write it with trtexec --exportProfile.")
    count = max((entry.number("count") for entry in entries if "count" in entry), default=1.0) or 1.0
    names = unique_names(entry.word("name") for entry in timed)
    return [
        TimedLayer(name, {device: _seconds(entry, count)}, nodes=tuple(_original_nodes(entry.word("name"))))
        for name, entry in zip(names, timed, strict=True)
    ]


def _seconds(entry: Fields, count: float) -> float:
    """Return the median time, else the average, else the total divided by the number of runs."""
    for key in ("medianMs", "averageMs"):
        if key in entry:
            return entry.number(key) / 1000
    return entry.number("timeMs") / count / 1000


def _original_nodes(name: str) -> list[str]:
    """Return the model's nodes that TensorRT fused into a layer, from its name, which joins theirs by `` + ``."""
    return [part.strip() for part in name.split(" + ") if part.strip()]


def _with_graph(
    path: Path, layer_info: Path, layers: list[TimedLayer], device: str, meta: dict[str, object]
) -> Profile:
    """Return the layers with the tensors of the layer information."""
    ends, sizes = _layer_information(layer_info)
    for layer in layers:
        if layer.name not in ends:
            raise ModelError(
                f"{layer_info}: does not name layer '{layer.name}' of {path}",
                "Export both files in one trtexec run.",
            )
    ends = _one_maker_each({layer.name: ends[layer.name] for layer in layers}, sizes)
    producer = {tensor: name for name, end in ends.items() for tensor in end.outputs}
    readers: dict[str, list[str]] = {name: [] for name in ends}
    for name, end in ends.items():
        for maker in dict.fromkeys(producer[tensor] for tensor in end.inputs if tensor in producer):
            readers[maker].append(name)
    timed = {layer.name: layer for layer in layers}
    order = topological(list(timed), readers, str(layer_info))
    read = dict.fromkeys(tensor for name in order for tensor in ends[name].inputs)
    inputs = tuple(tensor for tensor in read if tensor not in producer)
    return Profile(
        model_name=path.stem,
        devices=(Device(device),),
        tensor_bytes={tensor: sizes.get(tensor, 0) for tensor in (*inputs, *producer)},
        inputs=inputs,
        outputs=tuple(tensor for tensor in producer if tensor not in read),
        layers=tuple(_joined(timed[name], ends[name], device) for name in order),
        meta=meta,
    )


def _one_maker_each(ends: dict[str, _Ends], sizes: dict[str, int]) -> dict[str, _Ends]:
    """Return the graph with one producer per tensor.

    Where TensorRT drops a concatenation, several layers write parts of one tensor. Each part becomes a tensor, with an
    equal share of the bytes, and readers of the whole read all parts. ``sizes`` is extended by the parts.
    """
    makers: dict[str, list[str]] = {}
    for name, end in ends.items():
        for tensor in end.outputs:
            makers.setdefault(tensor, []).append(name)
    parts = {
        tensor: {name: tensor if len(names) == 1 else f"{tensor}#{part}" for part, name in enumerate(names, start=1)}
        for tensor, names in makers.items()
    }
    for tensor, part_names in parts.items():
        for part in part_names.values():
            sizes[part] = sizes.get(tensor, 0) // len(part_names)
    return {
        name: _Ends(
            inputs=tuple(part for tensor in end.inputs for part in parts.get(tensor, {"": tensor}).values()),
            outputs=tuple(parts[tensor][name] for tensor in end.outputs),
            op_type=end.op_type,
        )
        for name, end in ends.items()
    }


def _joined(layer: TimedLayer, ends: _Ends, device: str) -> ProfileLayer:
    """Return one layer with the tensors and the type that the layer information gives it."""
    typed = TimedLayer(layer.name, layer.seconds, (ends.op_type,) if ends.op_type else (), layer.nodes)
    return profile_layer(typed, ends.inputs, ends.outputs, [device])


def _layer_information(path: Path) -> tuple[dict[str, _Ends], dict[str, int]]:
    """Return {layer name: its tensors} and {tensor name: bytes}."""
    whole = Fields(read_json(path, "TensorRT layer information"), str(path))
    listed = whole.required("Layers")
    if isinstance(listed, list) and listed and all(isinstance(layer, str) for layer in listed):
        raise ModelError(
            f"{path}: holds layer names only, no tensors",
            "Build the engine with trtexec --profilingVerbosity=detailed, or import the profile without it.",
        )
    layers = objects(listed, f"{path}: Layers")
    names = unique_names(layer.word("Name") for layer in layers)
    ends: dict[str, _Ends] = {}
    sizes: dict[str, int] = {}
    for name, layer in zip(names, layers, strict=True):
        sides: list[tuple[str, ...]] = []
        for key in ("Inputs", "Outputs"):
            tensors = layer.objects(key) if key in layer else []
            sizes |= {tensor.word("Name"): _tensor_bytes(tensor) for tensor in tensors}
            sides.append(tuple(dict.fromkeys(tensor.word("Name") for tensor in tensors)))
        ends[name] = _Ends(sides[0], sides[1], str(layer.get("LayerType") or ""))
    return ends, sizes


def _tensor_bytes(tensor: Fields) -> int:
    """Return a tensor's bytes; 0 where the dimensions or the type are not known."""
    dimensions = tensor.get("Dimensions")
    found = _DATATYPE.search(str(tensor.get("Format/Datatype") or tensor.get("Datatype") or ""))
    if not isinstance(dimensions, list) or found is None:
        return 0
    if any(isinstance(length, int | float) and length < 0 for length in dimensions):
        return 0
    lengths = [round(nonnegative(length, f"{tensor.where}.Dimensions")) for length in dimensions]
    return math.prod(lengths) * _ELEMENT_BYTES[found.group().upper()]
