"""The Eyeriss chip: processing time of a layer with the chip's own row-stationary mapping (JSSC 2017).

A processing pass loads the filter rows of its PEs, streams image rows through them and drains the partial sums. The
multiply-accumulates take one cycle each in the active PEs; the loads before the first of them and the drain after the
last pass over buses of 64 bit (four words a cycle) and are not hidden. No number is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from mosaic_onnx.npu.layers.nest import LoopNest

WORDS_PER_CYCLE = 4
"""Of the chip's buses for filters, images and partial sums: 64 bit of 16-bit words."""
CLOCK_HZ = 200e6


@dataclass(frozen=True)
class RowStationaryMapping:
    """The chip's mapping of a layer, in the letters of the paper.

    Attributes:
        n: images a pass.
        e: output rows on the array's columns.
        p: filters interleaved in a PE.
        q: channels interleaved in a PE.
        r: PE sets of different channels.
        t: PE sets of different filters.
    """

    n: int
    e: int
    p: int
    q: int
    r: int
    t: int


@dataclass(frozen=True)
class ChipCost:
    """The time and traffic of one layer on the chip."""

    active_pes: int
    pass_count: int
    cycles: int

    @property
    def seconds(self) -> float:
        """At the chip's 200 MHz."""
        return self.cycles / CLOCK_HZ


ALEXNET_MAPPINGS = (
    RowStationaryMapping(n=1, e=7, p=16, q=1, r=1, t=2),
    RowStationaryMapping(n=1, e=27, p=16, q=2, r=1, t=1),
    RowStationaryMapping(n=4, e=13, p=16, q=4, r=1, t=4),
    RowStationaryMapping(n=4, e=13, p=16, q=3, r=2, t=2),
    RowStationaryMapping(n=4, e=13, p=16, q=3, r=2, t=2),
)
"""The chip's mappings of AlexNet's five convolutions (recalled from the paper; active PEs agree with its table)."""


def chip_cost(nest: LoopNest, mapping: RowStationaryMapping) -> ChipCost:
    """Return active PEs, passes and cycles of a convolution on the chip.

    Args:
        nest: the layer; ``N`` is the batch, groups are repeats.
        mapping: the chip's.
    """
    passes = (
        nest.repeats
        * ceil(nest.N / mapping.n)
        * ceil(nest.P / mapping.e)
        * ceil(nest.K / (mapping.p * mapping.t))
        * ceil(nest.C / (mapping.q * mapping.r))
    )
    computing = mapping.n * nest.Q * mapping.p * mapping.q * nest.S
    return ChipCost(nest.R * mapping.e * mapping.r * mapping.t, passes, passes * (computing + _exposed(nest, mapping)))


def _exposed(nest: LoopNest, mapping: RowStationaryMapping) -> int:
    """Return the cycles of a pass that computing does not hide: filters, the first image windows, the last sums."""
    filters = nest.R * mapping.r * mapping.t * mapping.p * mapping.q * nest.S
    image_rows = (mapping.e - 1) * nest.stride[0] + nest.R
    windows = image_rows * mapping.q * mapping.r * nest.S
    sums = mapping.p * mapping.t * mapping.e
    return sum(ceil(words / WORDS_PER_CYCLE) for words in (filters, windows, sums))
