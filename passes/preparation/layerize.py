"""Group nodes into layers, the smallest units that are never split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from mosaic_onnx.core.options import option
from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Layerize:
    """Group nodes: ``fused`` what runtimes fuse, ``node`` each by itself, ``block`` what is marked."""

    name: ClassVar[str] = "layerize"
    requires: ClassVar[tuple[str, ...]] = ("normalised",)
    ensures: ClassVar[tuple[str, ...]] = ("graph",)

    granularity: Literal["fused", "node", "block"] = option("fused", "What one layer is.", "--granularity")

    def __call__(self, state: State) -> State:
        """Add the layers."""
        from mosaic_onnx.layering.layerize import layerize

        return replace(state, graph=layerize(state.normalised, self.granularity))
