"""The description of an NPU. Counts of cycles are at the NPU's own clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DIMENSIONS = ("N", "K", "C", "P", "Q", "R", "S")
"""Loops of a layer: batch, output channels, input channels, output rows and columns, filter rows and columns."""

Operand = Literal["weights", "inputs", "outputs"]
OPERANDS: tuple[Operand, ...] = ("weights", "inputs", "outputs")
DepthwiseHandling = Literal["native", "vector", "densified"]
DoubleBuffering = Literal["optional", "always", "never"]


@dataclass(frozen=True)
class Array:
    """The array of processing elements (PEs).

    Attributes:
        rows: PEs along the first axis.
        columns: PEs along the second axis.
        row_unroll: loops that may be unrolled along the rows.
        column_unroll: loops that may be unrolled along the columns.
        fold: an axis may hold a second loop in the PEs that the first leaves idle.
    """

    rows: int
    columns: int
    row_unroll: tuple[str, ...] = DIMENSIONS
    column_unroll: tuple[str, ...] = DIMENSIONS
    fold: bool = True

    @property
    def mac_count(self) -> int:
        """Multiply-accumulates that the whole array does in a cycle: one a PE."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Precision:
    """Bytes of one element of each kind, and what ONNX calls the precision."""

    name: str
    weight_bytes: int
    activation_bytes: int
    partial_sum_bytes: int


@dataclass(frozen=True)
class Buffer:
    """The global buffer between DRAM and the array.

    Attributes:
        bytes: of a buffer that all operands share; None where it is split.
        weight_bytes: the weights' part of a split buffer.
        activation_bytes: the inputs' part of a split buffer.
        output_bytes: the outputs' part of a split buffer; None where they share the inputs' part.
        double_buffering: whether loads may, must or cannot overlap with computing.
        bytes_per_cycle: between the buffer and the array.
    """

    bytes: int | None
    weight_bytes: int | None
    activation_bytes: int | None
    output_bytes: int | None
    double_buffering: DoubleBuffering
    bytes_per_cycle: float

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        parts = (self.bytes, self.weight_bytes, self.activation_bytes, self.output_bytes)
        return sum(part for part in parts if part is not None)


@dataclass(frozen=True)
class Dram:
    """Memory outside the NPU: one port, shared by loads and stores."""

    bytes_per_cycle: float
    latency_cycles: int = 0
    burst_bytes: int = 1


@dataclass(frozen=True)
class Vector:
    """The unit for pooling, element-wise operators, softmax and normalisation: ``lanes`` elements a cycle."""

    lanes: int
    depthwise_macs_per_cycle: int | None = None


@dataclass(frozen=True)
class Energy:
    """Joules of one operation or of one byte moved, and the power drawn all the time."""

    mac_j: float
    register_j_per_byte: float
    buffer_j_per_byte: float
    dram_j_per_byte: float
    vector_j: float
    static_w: float = 0.0


@dataclass(frozen=True)
class Operators:
    """The operators that the hardware runs, and the unit of each.

    Attributes:
        depthwise: on the array as it is, on the vector unit, or as a dense convolution C×C×R×S.
        refused: ONNX operator types that the NPU does not take, with the reason.
    """

    depthwise: DepthwiseHandling = "native"
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """Between the NPU's memory and the host's.

    Attributes:
        resident: tensors stay in the NPU's memory between two slices of its own; else every slice brings all of them
            in and out.
    """

    bytes_per_second: float
    latency_s: float
    resident: bool = True


@dataclass(frozen=True)
class Area:
    """Silicon area, for design: of one PE (register file included), of a byte of buffer, and of the rest."""

    pe_mm2: float
    buffer_mm2_per_byte: float
    fixed_mm2: float = 0.0


@dataclass(frozen=True)
class Hardware:
    """One NPU.

    Attributes:
        name: what reports call it.
        summary: one line on what it describes and where the figures are from.
        clock_hz: of everything counted in cycles.
        register_bytes: register file of one PE.
        launch_s: added once a layer.
        reconfiguration_s: time to change the array's dataflow; in the dataflow ``best``, where each layer has a
            mapping of its own, every layer of the array pays it.
        slice_bytes: most that one slice may hold (weights and activations); None where nothing is known.
    """

    name: str
    summary: str
    clock_hz: float
    array: Array
    precision: Precision
    register_bytes: int
    buffer: Buffer
    dram: Dram
    vector: Vector
    energy: Energy
    operators: Operators
    link: Link
    launch_s: float = 0.0
    reconfiguration_s: float = 0.0
    slice_bytes: int | None = None
    area: Area | None = None

    @property
    def launch_cycles(self) -> float:
        """The launch cost, in cycles."""
        return self.launch_s * self.clock_hz

    @property
    def area_mm2(self) -> float | None:
        """Area of array and buffer; None where the description has no figures."""
        if self.area is None:
            return None
        pe_count = self.array.rows * self.array.columns
        return (
            self.area.fixed_mm2 + pe_count * self.area.pe_mm2 + self.buffer.total_bytes * self.area.buffer_mm2_per_byte
        )
