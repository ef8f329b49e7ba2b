"""MIDAP: the closed form of its cycle-level simulator for blocks of mobile networks.

The block formula holds no fitted number. Those of ``Conv2D`` and ``Dense`` were shaped on three published rows only.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import ceil

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.atomic import read_text
from mosaic_onnx.npu.layers.csv_file import rows_of
from mosaic_onnx.npu.layers.nest import LoopNest

LANES, KERNELS = 64, 16
"""Input channels and output channels that the array takes in a cycle."""
DRAM_BYTES_PER_CYCLE = 25.6
BLOCKS = ("MBConvBlock", "MixConvBlock", "Conv2D", "Dense")
_FIELDS = re.compile(r"(?:^|_)(imgsize|[rksecio])([0-9,]+)(?=_|$)")


@dataclass(frozen=True)
class Block:
    """One block of the simulator's table.

    Attributes:
        kind: one of ``BLOCKS``.
        specification: its text, which is its name.
        kernels: filter sizes, side by side.
        expansions: channels of each kernel over the input's channels.
        stride: of the depthwise (or only) convolution.
        inputs: channels.
        outputs: channels.
        has_residual: the input is added to the output.
        extent: rows and columns of the input.
    """

    kind: str
    specification: str
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    stride: int
    inputs: int
    outputs: int
    has_residual: bool
    extent: int


def block_cycles(block: Block) -> float:
    """Return the cycles of a block.

    An inverted residual: ``⌈Ci/64⌉⌈E/16⌉H² + Σ_k ⌈E_k/64⌉·v_k² + ⌈E/64⌉⌈Co/16⌉Ho² (+ ⌈Co/64⌉Ho² with a residual)``,
    with v_k the valid taps summed along an axis. A convolution or a fully connected layer by itself: the larger of its
    taps and its bytes through DRAM (an extension of ours: the published form is for blocks only).
    """
    if block.kind == "Dense":
        return max(_tiles(block.inputs, block.outputs), block.inputs * block.outputs / DRAM_BYTES_PER_CYCLE)
    if block.kind == "Conv2D":
        return _convolution_cycles(block)
    each = [expansion * block.inputs for expansion in block.expansions]
    outputs = -(-block.extent // block.stride)
    expand = _tiles(block.inputs, sum(each)) * block.extent**2
    depthwise = sum(
        ceil(channels / LANES) * valid_taps(block.extent, kernel, block.stride) ** 2
        for kernel, channels in zip(block.kernels, each, strict=True)
    )
    project = _tiles(sum(each), block.outputs) * outputs**2
    residual = ceil(block.outputs / LANES) * outputs**2 if block.has_residual else 0
    return expand + depthwise + project + residual


def _convolution_cycles(block: Block) -> float:
    """Return the cycles of one dense convolution; few input channels share the lanes with the taps of a row."""
    kernel, outputs = block.kernels[0], -(-block.extent // block.stride)
    in_a_word = max(1, LANES // (kernel * max(4, block.inputs))) if block.inputs < LANES else 0
    if in_a_word:
        row_words = ceil(kernel / in_a_word)
        computing = row_words * ceil(block.outputs / KERNELS) * outputs**2
    else:
        computing = _tiles(block.inputs, block.outputs) * valid_taps(block.extent, kernel, block.stride) ** 2
    computing += ceil(block.outputs / LANES) * outputs**2 if kernel == 1 else 0
    weights = kernel**2 * block.inputs * block.outputs
    first_inputs = block.inputs * block.extent**2 if block.inputs < LANES else 0
    return max(computing + first_inputs / DRAM_BYTES_PER_CYCLE, weights / DRAM_BYTES_PER_CYCLE)


def _tiles(inputs: int, outputs: int) -> int:
    return ceil(inputs / LANES) * ceil(outputs / KERNELS)


def valid_taps(extent: int, kernel: int, stride: int) -> int:
    """Return the filter taps that fall on the image, summed over the outputs along one axis, with padding ``same``."""
    outputs = -(-extent // stride)
    before = max((outputs - 1) * stride + kernel - extent, 0) // 2
    return sum(0 <= output * stride - before + tap < extent for output in range(outputs) for tap in range(kernel))


def block_of(kind: str, specification: str, where: str = "block") -> Block:
    """Read a block's specification: ``r1_k3_s11_e4_i32_o64_c0_noskip_imgsize56``.

    Args:
        kind: one of ``BLOCKS``.
        specification: ``k`` kernels, ``s`` stride (a digit an axis), ``e`` expansion (one value a kernel), ``i`` and
            ``o`` channels, ``noskip`` for no residual, ``imgsize`` of the input.
        where: for errors.

    Raises:
        ModelError: the kind is unknown, or a field is missing or impossible.
    """
    if kind not in BLOCKS:
        raise ModelError(f"{where}: block: {kind!r} is not a block of MIDAP's table", f"one of {', '.join(BLOCKS)}")
    fields = {name: tuple(int(n) for n in text.split(",") if n) for name, text in _FIELDS.findall(specification)}
    is_block = kind.endswith("Block")
    needed = {"Dense": ("i", "o"), "Conv2D": ("k", "s", "i", "o", "imgsize")}.get(
        kind, ("k", "s", "e", "i", "o", "imgsize")
    )
    missing = [name for name in needed if not fields.get(name) or min(fields[name]) < 1]
    if missing:
        raise ModelError(f"{where}: specification: {specification!r} has no {missing[0]}")
    kernels, expansions = fields.get("k", (1,)), fields.get("e", (1,))
    if is_block and len(expansions) == 1:
        expansions = expansions * len(kernels)
    if is_block and len(kernels) != len(expansions):
        raise ModelError(f"{where}: specification: {specification!r}: one expansion a kernel")
    stride = int(str(fields.get("s", (1,))[0])[0])
    inputs, outputs = fields["i"][0], fields["o"][0]
    has_residual = is_block and "noskip" not in specification and stride == 1 and inputs == outputs
    extent = fields.get("imgsize", (1,))[0]
    return Block(kind, specification, kernels, expansions, stride, inputs, outputs, has_residual, extent)


def read_blocks(path: str | os.PathLike[str]) -> tuple[Block, ...]:
    """Read a CSV ``block,specification``.

    Raises:
        ModelError: a column is missing or a specification cannot be read.
    """
    what = os.fspath(path)
    rows = rows_of(read_text(path), what, ("block", "specification"))
    return tuple(block_of(row["block"], row["specification"], f"{what}: line {line}") for line, row in rows)


def nest_cycles(nest: LoopNest) -> float:
    """Return the cycles of a layer of a model by the parts of the closed form, or of its weights' bytes if more."""
    rows = _valid(nest.P, nest.R, nest.stride[0], nest.dilation[0], nest.padding[0], nest.H)
    columns = _valid(nest.Q, nest.S, nest.stride[1], nest.dilation[1], nest.padding[1], nest.W)
    tiles = ceil(nest.K / LANES) if nest.is_depthwise else _tiles(nest.C, nest.K)
    residual = ceil(nest.K / LANES) * nest.P * nest.Q if nest.residual_elements else 0
    computing = nest.repeats * nest.N * (tiles * rows * columns + residual)
    return max(computing, nest.weight_elements / DRAM_BYTES_PER_CYCLE)


def _valid(outputs: int, taps: int, stride: int, dilation: int, padding: int, extent: int) -> int:
    """Return the taps on the image, summed over the outputs along an axis."""
    return sum(
        0 <= output * stride - padding + tap * dilation < extent for output in range(outputs) for tap in range(taps)
    )


def block_macs(block: Block) -> int:
    """Return the multiply-accumulates of a block, taps on padding included."""
    outputs = -(-block.extent // block.stride)
    if not block.kind.endswith("Block"):
        return block.inputs * block.outputs * block.kernels[0] ** 2 * outputs**2
    each = [expansion * block.inputs for expansion in block.expansions]
    depthwise = sum(channels * kernel**2 for kernel, channels in zip(block.kernels, each, strict=True))
    return block.inputs * sum(each) * block.extent**2 + (depthwise + sum(each) * block.outputs) * outputs**2
