"""HOPE's tables of layers on phones (Xia et al., High Technology Letters 2022), as profiles of CPU and GPU.

Of github.com/summerspringwei/DAG-Scheduler, one model on one phone has up to three text files: times
(``…-layerwise-latency.csv``: name, microseconds on the big cores with 1, 2 and 4 threads, on the GPU, and in some files
on the little cores with 1, 2 and 4 threads), the graph (``…-info.txt``: name, inputs and outputs as
``1,32,56,56@tensor;``) and transfers (``…-data-trans.csv``: a shape, microseconds from GPU to CPU and from CPU to GPU,
as HOPE's schedulers read them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import HOST, Cost, Profile, ProfileLayer, TensorTransferCost, TransferCost
from mosaic_onnx.importers.ordering import topological
from mosaic_onnx.importers.reading import nonnegative, read_text
from mosaic_onnx.importers.timed_layers import TimedLayer, chain_profile

FORM = "HOPE"
MICROSECOND = 1e-6
ELEMENT_BYTES = 4
BIG = {1: 1, 2: 2, 4: 3}
"""threads -> column of the times"""
GPU = 4
LITTLE = {1: 5, 2: 6, 4: 7}


@dataclass(frozen=True)
class _Layer:
    """One line of the graph: {tensor: its shape as it is written}."""

    name: str
    inputs: dict[str, str]
    outputs: dict[str, str]


def import_hope(
    path: Path,
    *,
    info: str | None = None,
    transfers: str | None = None,
    threads: int = 4,
    little_threads: int | None = None,
    missing_transfer_us: float | None = None,
) -> Profile:
    """Return the profile of a model on a phone: ``cpu`` (in host memory), ``gpu``, and ``little`` where asked for.

    Args:
        path: the times.
        info: the file of the graph; without it the layers are a chain, without transfer costs.
        transfers: the file of transfers; needed with ``info``.
        threads: of the big cores: 1, 2 or 4.
        little_threads: take the little cores as a device, with 1, 2 or 4 threads.
        missing_transfer_us: for tensors whose shape has no transfer time (HOPE takes 1300); without it they are an
            error.

    Raises:
        ModelError: a file does not have this format; the message names the line.
        UsageError: a number of threads that is not there, or ``info`` without ``transfers``.
    """
    if threads not in BIG or (little_threads is not None and little_threads not in LITTLE):
        raise UsageError(f"threads {threads}, little_threads {little_threads}: the tables have 1, 2 and 4")
    columns = {"cpu": BIG[threads], "gpu": GPU}
    if little_threads is not None:
        columns["little"] = LITTLE[little_threads]
    times = _times(path, columns)
    meta: dict[str, object] = {"imported_from": FORM, "file": path.name, "threads": threads}
    if info is None:
        layers = [TimedLayer(name, seconds) for name, seconds in times.items()]
        return chain_profile(path.stem, list(columns), layers, 0, meta)
    if transfers is None:
        raise UsageError("a graph needs the times of transfers too", "Give transfers=…-data-trans.csv.")
    graph = _graph(Path(info))
    unknown = next((name for name in graph if name not in times), None)
    if unknown is not None:
        raise ModelError(f"{path}: has no times of layer {unknown!r}, which {info} has", "Give files of one model.")
    costs = _transfer_costs(Path(transfers), _shapes(graph), missing_transfer_us)
    return _profile(path.stem, graph, times, costs, list(columns), meta)


def _profile(
    name: str,
    graph: dict[str, _Layer],
    times: dict[str, dict[str, float]],
    costs: dict[str, tuple[float, float]],
    devices: list[str],
    meta: dict[str, object],
) -> Profile:
    maker = {tensor: layer.name for layer in graph.values() for tensor in layer.outputs}
    readers: dict[str, list[str]] = {layer: [] for layer in graph}
    for layer in graph.values():
        for tensor in layer.inputs:
            if tensor in maker:
                readers[maker[tensor]].append(layer.name)
    order = topological(list(graph), readers, name)
    shapes = _shapes(graph)
    read = {tensor for layer in graph.values() for tensor in layer.inputs}
    layers = tuple(
        ProfileLayer(
            name=layer,
            inputs=tuple(graph[layer].inputs),
            outputs=tuple(graph[layer].outputs),
            cost={device: Cost(seconds) for device, seconds in times[layer].items()},
            op_types=(layer.rpartition("/")[2],),
        )
        for layer in order
    )
    return Profile(
        model_name=name,
        devices=tuple(Device(device) for device in devices),
        tensor_bytes={tensor: ELEMENT_BYTES * math.prod(_dimensions(shape)) for tensor, shape in shapes.items()},
        inputs=tuple(dict.fromkeys(t for layer in order for t in graph[layer].inputs if t not in maker)),
        outputs=tuple(t for layer in order for t in graph[layer].outputs if t not in read),
        layers=layers,
        copies=(
            TransferCost("gpu", HOST, tensors={t: TensorTransferCost(costs[t][0]) for t in shapes}),
            TransferCost(HOST, "gpu", tensors={t: TensorTransferCost(costs[t][1]) for t in shapes}),
        ),
        meta={**meta, "times_without_layer": len(times.keys() - graph.keys())},
    )


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """Return (place, words) of the lines that are not empty."""
    lines = read_text(path, FORM).splitlines()
    return [(f"{path}: line {number}", line.split()) for number, line in enumerate(lines, 1) if line.strip()]


def _times(path: Path, columns: dict[str, int]) -> dict[str, dict[str, float]]:
    """Return {layer: {device: seconds}}."""
    found: dict[str, dict[str, float]] = {}
    for place, words in _lines(path):
        if len(words) <= max(columns.values()):
            raise ModelError(
                f"{place}: has {len(words)} columns, {max(columns.values()) + 1} are needed",
                "A name, times on 1, 2 and 4 big cores, on the GPU, and perhaps on 1, 2 and 4 little cores.",
            )
        if words[0] in found:
            raise ModelError(f"{place}: layer {words[0]!r} stands twice", "Is it one model's file?")
        found[words[0]] = {
            device: nonnegative(words[column], f"{place}, column {column + 1}") * MICROSECOND
            for device, column in columns.items()
        }
    if not found:
        raise ModelError(f"{path}: holds no layer", "Is it the right file?")
    return found


def _graph(path: Path) -> dict[str, _Layer]:
    """Return the layers; a constant that names its own output as an input reads nothing."""
    found: dict[str, _Layer] = {}
    made: dict[str, str] = {}
    for place, words in _lines(path):
        if len(words) < 3:
            raise ModelError(f"{place}: has {len(words)} columns, 3 are needed", "A name, inputs, outputs.")
        outputs = _tensors(words[2], place)
        inputs = {t: shape for t, shape in _tensors(words[1], place).items() if t not in outputs}
        if words[0] in found:
            raise ModelError(f"{place}: layer {words[0]!r} stands twice", "Is it one model's file?")
        for tensor in outputs:
            if tensor in made:
                raise ModelError(f"{place}: tensor {tensor!r} is made by {made[tensor]!r} too", "One layer makes it.")
            made[tensor] = words[0]
        found[words[0]] = _Layer(words[0], inputs, outputs)
    return found


def _tensors(text: str, place: str) -> dict[str, str]:
    """Return {tensor: shape} of ``1,32,56,56@tensor;…``, nothing for ``none``."""
    if text == "none":
        return {}
    found = {}
    for part in filter(None, text.split(";")):
        shape, sign, tensor = part.partition("@")
        if not sign or not tensor or not all(one.isdecimal() for one in shape.split(",")):
            raise ModelError(f"{place}: {part!r} is no tensor", "Write 1,32,56,56@name.")
        found[tensor] = shape
    return found


def _shapes(graph: dict[str, _Layer]) -> dict[str, str]:
    """Return {tensor: shape}; where a reader writes another shape, that of the maker counts."""
    read = {tensor: shape for layer in graph.values() for tensor, shape in layer.inputs.items()}
    return read | {tensor: shape for layer in graph.values() for tensor, shape in layer.outputs.items()}


def _dimensions(shape: str) -> list[int]:
    return [int(one) for one in shape.split(",")]


def _transfer_costs(path: Path, shapes: dict[str, str], missing_us: float | None) -> dict[str, tuple[float, float]]:
    """Return {tensor: seconds from the GPU and to it}."""
    by_shape: dict[str, tuple[float, float]] = {}
    for place, words in _lines(path):
        if len(words) != 3:
            raise ModelError(f"{place}: has {len(words)} columns, 3 are needed", "A shape, times from and to the GPU.")
        from_gpu, to_gpu = (nonnegative(word, place) * MICROSECOND for word in words[1:])
        by_shape[words[0]] = from_gpu, to_gpu
    if missing_us is not None:
        usual = missing_us * MICROSECOND
        return {tensor: by_shape.get(shape, (usual, usual)) for tensor, shape in shapes.items()}
    absent = next(((tensor, shape) for tensor, shape in shapes.items() if shape not in by_shape), None)
    if absent is not None:
        raise ModelError(
            f"{path}: has no time for shape {absent[1]} of tensor {absent[0]!r}",
            "Give missing_transfer_us (HOPE takes 1300) for such tensors.",
        )
    return {tensor: by_shape[shape] for tensor, shape in shapes.items()}
