"""Turn the timings of one state into costs for the planner: of each layer, of measured slices, of any slice.

A slice's predicted time is the sum of its layers' seconds plus the device's ``slice_seconds``; a slice that was
measured as a whole has its own figure. So that both agree, the layers of such a slice are scaled to add up to it. This
removes the profiler's own overhead, and the pessimism of layers measured alone where the runtime cannot time kernels.
A layer measured alone takes longer than in a larger slice: fusion is lost, layouts change, the call costs time. The
median of that difference over the layers is the device's ``slice_seconds``: a measured penalty for each cut.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.profiling.attribution import KernelShare, sharing_layers
from mosaic_onnx.profiling.device_profiler import DeviceTimings
from mosaic_onnx.profiling.profiled_model import Span

_LEAST_SHARE = 0.05
"""The least share of a layer's time alone that counts as work, however noisy the figures."""
_MOST_OVER_ALONE = 1.25
"""The most that layers inside a slice may take, relative to their times alone: they may lose warm caches."""
_SCALES = (0.05, 2.0)
"""Layers are scaled by factors in this range only; outside it, the measurement of the slice was disturbed."""


@dataclass(frozen=True)
class StateCosts:
    """The costs of one state of one device.

    Attributes:
        layer_s: by layer, its share of a slice's time; layers that cannot run are absent.
        workspace_bytes: by layer, scratch memory; layers for which it is unknown are absent.
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


def state_costs(timings: DeviceTimings, graph: LayerGraph) -> StateCosts:
    """Return the costs from a device's timings; layers not measured yet are left out."""
    alone = {layer: one.seconds for layer, one in timings.alone.items() if one.seconds is not None}
    whole = {span: one.seconds for span, one in timings.slices.items() if one.seconds is not None}
    call_s = min([timings.slice_s, *alone.values(), *whole.values()])  # no slice takes less than the call
    layer_s = in_place_seconds(timings.in_place, alone, graph)
    for layer, seconds in alone.items():
        layer_s.setdefault(layer, max(seconds - call_s, _LEAST_SHARE * seconds))
    layer_s = {layer: seconds for layer, seconds in sorted(layer_s.items()) if layer not in timings.refused}
    for span, seconds in whole.items():
        _scale(layer_s, span, seconds - call_s)
    penalties = [alone[layer] - layer_s[layer] for layer in alone if layer in layer_s]
    return StateCosts(
        layer_s=layer_s,
        workspace_bytes={layer: share.workspace_bytes for layer, share in timings.in_place.items()},
        alone_s={layer: max(alone[layer], layer_s[layer]) for layer in alone if layer in layer_s},
        error={layer: one.error for layer, one in timings.alone.items() if one.error is not None},
        segments=whole,
        slice_s=_slice_seconds(call_s, penalties),
    )


def in_place_seconds(
    in_place: Mapping[int, KernelShare], alone: Mapping[int, float], graph: LayerGraph
) -> dict[int, float]:
    """Return the seconds of each layer from kernels' times.

    A kernel that does the work of several layers has the name of one, so layers that share kernels share their time
    in proportion to their times alone. Their total is at most a little more than the sum of their times alone;
    larger figures were disturbed.
    """
    seconds = {layer: share.seconds for layer, share in in_place.items()}
    for layers in sharing_layers(in_place, graph):
        if not all(layer in alone for layer in layers):
            continue
        total_alone_s = sum(alone[layer] for layer in layers)
        if total_alone_s <= 0.0:  # too short for the clock
            continue
        total_s = min(sum(seconds[layer] for layer in layers), _MOST_OVER_ALONE * total_alone_s)
        for layer in layers:
            seconds[layer] = total_s * alone[layer] / total_alone_s
    return seconds


def _scale(layer_s: dict[int, float], span: Span, seconds: float) -> None:
    """Scale the layers of a measured slice, in place, so that they add up to its time."""
    layers = [layer for layer in range(span[0], span[1] + 1) if layer in layer_s]
    total = sum(layer_s[layer] for layer in layers)
    if seconds <= 0 or total <= 0 or not _SCALES[0] <= seconds / total <= _SCALES[1]:
        return
    for layer in layers:
        layer_s[layer] *= seconds / total


def _slice_seconds(overhead_s: float, penalties: Sequence[float]) -> float:
    """Return the median penalty; at least the time of the smallest slice."""
    return max(overhead_s, statistics.median(penalties)) if penalties else overhead_s
