"""Pictures of a map: the roofline of all layers, and the tiles of one layer over time. They need matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.npu.costs.simulate import timeline
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.dataflow import nest_on

if TYPE_CHECKING:
    from mosaic_onnx.npu.model_map import ModelMap

TILES_SHOWN = 12
FORMATS = ("svg", "png", "pdf")


def draw_roofline(found: ModelMap, path: Path) -> None:
    """Draw each layer's speed over its intensity, under the roof of array and DRAM.

    Raises:
        UsageError: matplotlib is absent, or the file's ending is none of ``FORMATS``.
    """
    figure, axes = _figure()
    hardware = found.hardware
    peak, bandwidth = hardware.array.mac_count, hardware.dram.bytes_per_cycle
    points = [
        (layer.result.layer.macs / layer.result.cost.dram_bytes, layer.result.layer.macs / layer.cycles)
        for layer in found.layers
        if layer.result.layer.macs and layer.result.cost.dram_bytes
    ]
    ridge = peak / bandwidth
    low = min([ridge / 100, *(x for x, _ in points)])
    high = max([ridge * 100, *(x for x, _ in points)])
    axes.plot([low, ridge, high], [low * bandwidth, peak, peak], color="black", label="roof")
    axes.scatter([x for x, _ in points], [y for _, y in points], s=14, label="layers")
    axes.set(xscale="log", yscale="log", xlabel="MACs a byte of DRAM", ylabel="MACs a cycle")
    axes.set_title(f"{found.model} on {hardware.name} (emulated)")
    axes.legend()
    _save(figure, path)


def draw_timeline(found: ModelMap, layer_name: str, path: Path) -> None:
    """Draw load, computation and store of the first tiles of a layer, as the cycle-level simulation has them.

    Raises:
        UsageError: no layer on the array has this name; matplotlib is absent; the file's ending is none of ``FORMATS``.
    """
    result = next((each.result for each in found.layers if each.result.layer.name == layer_name), None)
    if result is None or result.mapping is None or not isinstance(result.layer, LoopNest):
        names = [each.result.layer.name for each in found.layers if each.result.mapping is not None]
        raise UsageError(f"no layer on the array is called {layer_name!r}", f"one of {', '.join(names[:10])}, …")
    nest = nest_on(result.layer, found.hardware)
    figure, axes = _figure()
    for number, event in enumerate(timeline(nest, found.hardware, result.mapping, TILES_SHOWN)):
        spans = (
            (2, event.load_start, event.load_end),
            (1, event.compute_start, event.compute_end),
            (0, event.compute_end, event.store_end),
        )
        for row, start, end in spans:
            axes.barh(row, end - start, left=start, color=f"C{number % 10}", edgecolor="black", linewidth=0.3)
    axes.set_yticks([0, 1, 2], ["store", "compute", "load"])
    axes.set(xlabel="cycles", title=f"{layer_name}: first tiles on {found.hardware.name} (emulated)")
    _save(figure, path)


def _figure() -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("pictures need matplotlib", "pip install 'mosaic-onnx[report]'") from None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> None:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"{path}: no picture ends in {path.suffix!r}", f"one of {', '.join(FORMATS)}")
    content = io.BytesIO()
    figure.savefig(content, format=kind)
    write_atomically(path, content.getvalue())
