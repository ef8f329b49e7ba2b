"""SCALE-Sim 3.0.0: cycles of a systolic array without prefetch (its bandwidth set to ``CALC``)."""

from __future__ import annotations

from math import ceil
from typing import Literal

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.npu.layers.nest import LoopNest

SystolicDataflow = Literal["os", "ws", "is"]


def scale_sim_cycles(nest: LoopNest, rows: int, columns: int, dataflow: SystolicDataflow) -> int:
    """Return SCALE-Sim's total cycles of a layer.

    With P output pixels, T = C·R·S, an r × c array: ``OS = ⌈P/r⌉⌈K/c⌉(T+r+c-2) - 1``,
    ``WS = ⌈T/r⌉⌈K/c⌉(P+2r+c-2) - 1``, ``IS = ⌈T/r⌉⌈P/c⌉(K+2r+c-2) - 1``. Inputs count as padded beforehand, and the
    output size is rounded up: ``⌈(H-R+stride)/stride⌉``. Groups, and the channels of a depthwise layer, run one after
    the other.

    Raises:
        ModelError: the layer has a dilation, which SCALE-Sim does not know.
    """
    if nest.dilation != (1, 1):
        raise ModelError(f"{nest.name}: SCALE-Sim knows no dilation", "use another cost model")
    pixels = nest.N * _rounded_up(nest, 0) * _rounded_up(nest, 1)
    depth = nest.C * nest.R * nest.S
    channels, copies = (1, nest.K) if nest.is_depthwise else (nest.K, 1)
    if dataflow == "os":
        cycles = ceil(pixels / rows) * ceil(channels / columns) * (depth + rows + columns - 2) - 1
    elif dataflow == "ws":
        cycles = ceil(depth / rows) * ceil(channels / columns) * (pixels + 2 * rows + columns - 2) - 1
    else:
        cycles = ceil(depth / rows) * ceil(pixels / columns) * (channels + 2 * rows + columns - 2) - 1
    return cycles * copies * nest.repeats


def _rounded_up(nest: LoopNest, axis: int) -> int:
    """Return the output size along an axis; of an unpadded input rounded up, as SCALE-Sim does."""
    outputs, taps, extent = ((nest.P, nest.R, nest.H), (nest.Q, nest.S, nest.W))[axis]
    stride, padding = nest.stride[axis], nest.padding[axis]
    return outputs if padding else max(outputs, ceil((extent - taps + stride) / stride))
