"""ONNX Runtime's profiler output (``SessionOptions.enable_profiling``), as a profile.

A list of Chrome trace events; a node's run is an event of category ``Node`` whose name ends in ``_kernel_time``, with
``dur`` and ``ts`` in µs and, under ``args``, ``op_name``, ``provider``, ``parameter_size``, ``output_size`` and
``activation_size`` (what it reads) in bytes. The file holds no graph.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.importers.reading import Fields, objects, read_json
from mosaic_onnx.importers.timed_layers import TimedLayer, chain_profile, merge_runs

FORM = "ONNX Runtime profile"
_SUFFIX = "_kernel_time"
_COPY_OPS = ("MemcpyFromHost", "MemcpyToHost")


@dataclass
class _Runs:
    """Every run of one node."""

    first: Fields
    provider: str
    seconds: list[float] = field(default_factory=list)


def import_onnxruntime(path: Path, *, also: Sequence[Path | str] | Path | str = ()) -> Profile:
    """Return a profile with one device for every execution provider in the file (``CUDAExecutionProvider`` → ``cuda``).

    A node's time is the median of its runs. Nodes inside an If, Loop or Scan are part of that node's time; copies
    between providers, which ONNX Runtime runs as nodes, are left out. Since the file has no graph, the layers form a
    chain (``meta.dataflow`` says so).

    Args:
        path: the JSON file.
        also: a file, or several, of further runs of the same model, for example on another provider.

    Raises:
        ModelError: a file does not have this format, or the runs do not have the same nodes.
    """
    further = [also] if isinstance(also, Path | str) else also
    files = [path, *(Path(file) for file in further)]
    read = [(str(file), *_read(file)) for file in files]
    layers = merge_runs([(file, timed) for file, timed, _, _ in read])
    return chain_profile(
        model_name=path.stem,
        devices=list(dict.fromkeys(device for layer in layers for device in layer.seconds)),
        layers=layers,
        input_bytes=read[0][2],
        meta={
            "imported_from": "onnxruntime",
            "files": [file.name for file in files],
            "copy_nodes_left_out": sum(copy_count for _, _, _, copy_count in read),
        },
    )


def _read(path: Path) -> tuple[list[TimedLayer], int, int]:
    """Return the layers in the order of their runs, the bytes that the first reads, and the copy nodes left out."""
    events = objects(read_json(path, FORM), str(path))
    nodes = [
        event
        for event in events
        if event.get("cat") == "Node" and str(event.get("name") or "").endswith(_SUFFIX) and "args" in event
    ]
    if not nodes:
        raise ModelError(
            f"{path}: holds no node's kernel time",
            "Run the model at least once between enable_profiling and end_profiling.",
        )
    runs: dict[str, _Runs] = {}
    copies: set[str] = set()
    for event in _outermost(nodes):
        name = str(event.get("name")).removesuffix(_SUFFIX)
        arguments = Fields(event.required("args"), f"{event.where}.args")
        if arguments.word("op_name") in _COPY_OPS:
            copies.add(name)
            continue
        provider = _device_name(arguments.word("provider"))
        known = runs.setdefault(name, _Runs(arguments, provider))
        known.seconds.append(event.number("dur") / 1e6)
    if not runs:
        raise ModelError(f"{path}: holds copies only", "Run the whole model while profiling.")
    layers = [_layer(name, known) for name, known in runs.items()]
    return layers, round(next(iter(runs.values())).first.number("activation_size", 0.0)), len(copies)


def _layer(name: str, runs: _Runs) -> TimedLayer:
    """Return one node with the median of its runs."""
    return TimedLayer(
        name=name,
        seconds={runs.provider: statistics.median(runs.seconds)},
        op_types=(runs.first.word("op_name"),),
        nodes=(name,),
        parameter_bytes=round(runs.first.number("parameter_size", 0.0)),
        output_bytes=round(runs.first.number("output_size", 0.0)),
    )


def _outermost(events: list[Fields]) -> list[Fields]:
    """Return the events outside all others of their thread (a body's nodes run within its Loop's event)."""
    outer: list[Fields] = []
    end_us: dict[str, float] = {}
    for event in sorted(events, key=lambda event: (event.number("ts"), -event.number("dur"))):
        start, thread = event.number("ts"), str(event.get("tid"))
        end = start + event.number("dur")
        if end <= end_us.get(thread, -1.0) and end > start:
            continue
        end_us[thread] = max(end, end_us.get(thread, -1.0))
        outer.append(event)
    return outer


def _device_name(provider: str) -> str:
    """Return the device name of a provider: ``cpu`` for ``CPUExecutionProvider``."""
    return provider.removesuffix("ExecutionProvider").lower() or "cpu"
