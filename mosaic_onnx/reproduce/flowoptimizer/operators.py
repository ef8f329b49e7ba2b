"""The operators of the comparison: dense and depthwise convolutions on the maps of small and of ImageNet's networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mosaic_onnx.npu.layers.nest import LoopNest

SMALL_MAPS = ((32, 32), (16, 64), (8, 128))
"""(rows and columns, channels) of networks for 32 × 32 images; the channels are chosen here."""
IMAGENET_MAPS = ((112, 32), (56, 64), (28, 128), (14, 256), (7, 512))
"""Likewise for images of 224 × 224."""
TAPS = (1, 3, 5)
Kind = Literal["dense", "depthwise"]


@dataclass(frozen=True)
class Operator:
    """One convolution with as many outputs as inputs, stride 1, padded to the same extent.

    Attributes:
        kind: dense, or one filter a channel.
        taps: rows and columns of the filter.
        extent: rows and columns of the map.
        channels: inputs and outputs.
    """

    kind: Kind
    taps: int
    extent: int
    channels: int

    @property
    def name(self) -> str:
        """Return what tables call it."""
        return f"{self.kind} {self.taps}×{self.taps}, {self.channels} at {self.extent}²"

    @property
    def nest(self) -> LoopNest:
        """Return its loops."""
        is_depthwise, pad, extent = self.kind == "depthwise", self.taps // 2, self.extent
        return LoopNest(
            name=self.name,
            kind="depthwise" if is_depthwise else "conv",
            N=1,
            K=self.channels,
            C=1 if is_depthwise else self.channels,
            P=extent,
            Q=extent,
            R=self.taps,
            S=self.taps,
            H=extent,
            W=extent,
            padding=(pad, pad),
        )


def every_operator(*, reduced: bool = False) -> tuple[Operator, ...]:
    """Return the operators of the comparison; reduced, those with 1 × 1 and 3 × 3 on three maps."""
    maps = ((16, 64), (8, 128), (7, 512)) if reduced else (*SMALL_MAPS, *IMAGENET_MAPS)
    kinds: tuple[Kind, ...] = ("dense", "depthwise")
    taps = TAPS[:2] if reduced else TAPS
    return tuple(Operator(kind, each, *one) for kind in kinds for each in taps for one in maps)
