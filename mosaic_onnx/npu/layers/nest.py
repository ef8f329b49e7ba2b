"""The three things that a layer of a model can be for an NPU: a loop nest, vector work, or refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Literal

NestKind = Literal["conv", "depthwise", "gemm"]


@dataclass(frozen=True)
class LoopNest:
    """A layer for the array: seven loops of multiply-accumulates, repeated for each group.

    ``for N, K, C, P, Q, R, S: out[n,k,p,q] += in[n, c, p*stride+r*dilation-pad, ...] * w[k,c,r,s]``. A depthwise
    convolution has its channels in ``K``, which then index the inputs too, and ``C`` = 1.

    Attributes:
        name: the layer's.
        kind: what the loops are.
        N: batch (images that share the weights).
        K: output channels of a group.
        C: input channels of a group.
        P: output rows.
        Q: output columns.
        R: filter rows.
        S: filter columns.
        H: input rows.
        W: input columns.
        stride: rows, columns.
        dilation: rows, columns.
        padding: rows of zeros above the input, columns of zeros to its left (the rest follows from the sizes).
        repeats: independent copies of the nest, one after the other: groups, or products of batched matrices.
        residual_elements: elements that a fused addition reads.
        nodes: keys of the nodes that the layer covers.
        fused: operator types fused behind the first.
    """

    name: str
    kind: NestKind
    N: int
    K: int
    C: int
    P: int
    Q: int
    R: int
    S: int
    H: int
    W: int
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    repeats: int = 1
    residual_elements: int = 0
    nodes: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()

    def trip(self, loop: str) -> int:
        """Return the whole trip count of a loop."""
        return int(getattr(self, loop))

    @property
    def is_depthwise(self) -> bool:
        """True where K indexes the inputs."""
        return self.kind == "depthwise"

    @property
    def macs(self) -> int:
        """Multiply-accumulates, taps on padding included."""
        return self.repeats * prod((self.N, self.K, self.C, self.P, self.Q, self.R, self.S))

    @property
    def weight_elements(self) -> int:
        """Weights of all repeats."""
        return self.repeats * self.K * self.C * self.R * self.S

    @property
    def input_elements(self) -> int:
        """Input elements that some filter tap touches, in all repeats; rows that a stride leaves out are not."""
        channels = self.K if self.is_depthwise else self.C
        rows = touched(self.P, self.R, self.stride[0], self.dilation[0], self.padding[0], self.H)
        columns = touched(self.Q, self.S, self.stride[1], self.dilation[1], self.padding[1], self.W)
        return self.repeats * self.N * channels * rows * columns

    @property
    def output_elements(self) -> int:
        """Outputs of all repeats."""
        return self.repeats * self.N * self.K * self.P * self.Q

    def key(self) -> dict[str, object]:
        """Return what decides its cost, as JSON: everything but names."""
        fields = asdict(replace(self, name="", nodes=(), fused=()))
        return {name: value for name, value in fields.items() if name not in ("name", "nodes", "fused")}

    def densified(self) -> LoopNest:
        """Return the dense convolution that computes a depthwise one: C = K, zeros off the diagonal."""
        return replace(self, kind="conv", C=self.K) if self.is_depthwise else self


def touched(outputs: int, taps: int, stride: int, dilation: int, padding: int, extent: int) -> int:
    """Return how many input rows a run of output rows loads: the span from the first to the last, clipped.

    Where the stride is larger than the filter, the rows between are skipped and not counted.
    """
    first = -padding
    last = (outputs - 1) * stride - padding + (taps - 1) * dilation
    span = max(0, min(last, extent - 1) - max(first, 0) + 1)
    return min(span, outputs * taps)


@dataclass(frozen=True)
class VectorWork:
    """A layer for the vector unit, or for the DMA alone where it has no operations.

    Attributes:
        operator: ONNX operator type.
        operations: element operations.
        input_elements: read from DRAM.
        output_elements: written to DRAM.
    """

    name: str
    operator: str
    operations: int
    input_elements: int
    output_elements: int
    nodes: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """None: the vector unit's operations are not multiply-accumulates."""
        return 0

    def key(self) -> dict[str, object]:
        """Return what decides its cost, as JSON."""
        return {"vector": [self.operations, self.input_elements, self.output_elements]}


@dataclass(frozen=True)
class Refused:
    """A node that the hardware cannot run, and why."""

    name: str
    operator: str
    reason: str


NpuLayer = LoopNest | VectorWork


@dataclass(frozen=True)
class ModelLayers:
    """A whole model: its layers in topological order, and what other devices must run."""

    name: str
    layers: tuple[NpuLayer, ...]
    refused: tuple[Refused, ...] = ()
    followers: tuple[int | None, ...] = ()
    """For each layer, the only layer that reads its result, as that layer's data input; None where there is none."""
