"""From what a survey found to what the planner is told: seconds of each layer, of measured slices, of any slice.

A slice's predicted time is the sum of its layers' seconds plus the device's ``slice_seconds``; a slice that was
measured whole has its own figure. So that both agree, the layers of a stretch that was measured whole are scaled to add
up to it, which takes out the profiler's own cost, and the pessimism of layers measured alone where the runtime cannot
time kernels. What a layer costs alone beyond its share is what cutting around it costs: lost fusion, changes of layout,
the call. The median of that over the layers is the device's ``slice_seconds``: a cut penalty learned, not assumed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.profiling.attribution import Share, sharing_layers
from mosaic_onnx.profiling.device_profiler import Findings
from mosaic_onnx.profiling.profiled_model import Span

_LEAST_SHARE = 0.05
"""A layer alone does some work: its share is not all overhead, however noisy the figures."""
_MOST_OVER_ALONE = 1.25
"""Layers in place save calls and changes of layout, and lose warm caches."""
_SCALES = (0.05, 2.0)
"""A stretch that would scale its layers by more than this was disturbed; its own figure still stands."""


@dataclass(frozen=True)
class StateCosts:
    """What one state of one device costs.

    Attributes:
        layer_s: by layer, its share of a slice's time; layers that cannot run are absent.
        workspace_bytes: by layer, scratch memory; layers of which nobody tells are absent.
        alone_s: by layer, measured as a slice of its own.
        error: by layer, relative error against the reference, where it was compared alone.
        segments: measured slices of more than one layer, seconds.
        slice_s: added once per slice that was not measured.
    """

    layer_s: Mapping[int, float]
    workspace_bytes: Mapping[int, int]
    alone_s: Mapping[int, float]
    error: Mapping[int, float]
    segments: Mapping[Span, float]
    slice_s: float


def state_costs(findings: Findings, graph: LayerGraph) -> StateCosts:
    """Costs from a survey's findings; layers not measured yet are left out."""
    alone = {layer: one.seconds for layer, one in findings.alone.items() if one.seconds is not None}
    whole = {span: one.seconds for span, one in findings.stretches.items() if one.seconds is not None}
    call_s = min([findings.slice_s, *alone.values(), *whole.values()])  # no slice takes less than the call
    layer_s = in_place_seconds(findings.in_place, alone, graph)
    for layer, seconds in alone.items():
        layer_s.setdefault(layer, max(seconds - call_s, _LEAST_SHARE * seconds))
    layer_s = {layer: seconds for layer, seconds in sorted(layer_s.items()) if layer not in findings.refused}
    for span, seconds in whole.items():
        _scale(layer_s, span, seconds - call_s)
    penalties = [alone[layer] - layer_s[layer] for layer in alone if layer in layer_s]
    return StateCosts(
        layer_s=layer_s,
        workspace_bytes={layer: share.workspace_bytes for layer, share in findings.in_place.items()},
        alone_s={layer: max(alone[layer], layer_s[layer]) for layer in alone if layer in layer_s},
        error={layer: one.error for layer, one in findings.alone.items() if one.error is not None},
        segments=whole,
        slice_s=_slice_seconds(call_s, penalties),
    )


def in_place_seconds(in_place: Mapping[int, Share], alone: Mapping[int, float], graph: LayerGraph) -> dict[int, float]:
    """Seconds of each layer from kernels' times.

    A kernel that does the work of several layers bears the name of one, so layers that share kernels share their time
    as they do alone. Together they take little more than alone one after the other: what does was disturbed.
    """
    seconds = {layer: share.seconds for layer, share in in_place.items()}
    for layers in sharing_layers(in_place, graph):
        if not all(layer in alone for layer in layers):
            continue
        total_alone_s = sum(alone[layer] for layer in layers)
        if total_alone_s <= 0.0:  # too short for the clock: nothing to share by
            continue
        total_s = min(sum(seconds[layer] for layer in layers), _MOST_OVER_ALONE * total_alone_s)
        for layer in layers:
            seconds[layer] = total_s * alone[layer] / total_alone_s
    return seconds


def _scale(layer_s: dict[int, float], span: Span, seconds: float) -> None:
    """Scale a stretch's layers, in place, so that they add up to its measured time."""
    layers = [layer for layer in range(span[0], span[1] + 1) if layer in layer_s]
    total = sum(layer_s[layer] for layer in layers)
    if seconds <= 0 or total <= 0 or not _SCALES[0] <= seconds / total <= _SCALES[1]:
        return
    for layer in layers:
        layer_s[layer] *= seconds / total


def _slice_seconds(overhead_s: float, penalties: Sequence[float]) -> float:
    """The median penalty; at least what the smallest slice takes."""
    return max(overhead_s, statistics.median(penalties)) if penalties else overhead_s
