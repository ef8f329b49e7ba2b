"""The cost of one mapping, from the same formulas that the search evaluates in bulk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.npu.costs.energy import movement_j, operations_j, static_j
from mosaic_onnx.npu.costs.latency import bound_cycles, fixed_cycles, overlapped_cycles, serial_cycles, transfers_of
from mosaic_onnx.npu.costs.mapping import Mapping
from mosaic_onnx.npu.costs.on_chip import buffer_bytes, factors_of, steps_of, tile_cycles, work_of
from mosaic_onnx.npu.costs.tiling import tilings_of
from mosaic_onnx.npu.costs.traffic import dram_traffic, fits, footprint
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest

Objective = Literal["latency", "energy", "edp"]


@dataclass(frozen=True)
class Cost:
    """The costs of a layer on an NPU.

    Attributes:
        cycles: at the NPU's clock, launch included.
        joules: dynamic and static.
        dram_bytes: between DRAM and the buffer, both ways.
        buffer_bytes: between the buffer and the array, both ways.
        array_cycles: in which the array would do the work if it never waited.
        buffer_cycles: for the bytes between buffer and array.
        dram_cycles: for the bytes between DRAM and buffer.
        bound_cycles: that no mapping beats.
    """

    cycles: float
    joules: float
    dram_bytes: float
    buffer_bytes: float
    array_cycles: float
    buffer_cycles: float
    dram_cycles: float
    bound_cycles: float

    @property
    def limited_by(self) -> Literal["compute", "buffer", "dram"]:
        """The busiest part."""
        if self.dram_cycles >= max(self.array_cycles, self.buffer_cycles):
            return "dram"
        return "buffer" if self.buffer_cycles > self.array_cycles else "compute"

    def value(self, objective: Objective) -> float:
        """Return the figure that an objective makes least: cycles, joules, or their product."""
        return objective_value(objective, self.cycles, self.joules)


def objective_value(objective: Objective, cycles: float, joules: float) -> float:
    """Return cycles, joules, or their product."""
    return cycles if objective == "latency" else joules if objective == "energy" else cycles * joules


def evaluate(nest: LoopNest, hardware: Hardware, mapping: Mapping) -> Cost:
    """Return the analytical cost of one mapping.

    Raises:
        InfeasibleError: its tiles do not fit the buffer.
    """
    tilings, factors = tilings_of(nest, mapping.tiles), factors_of(mapping.spatial)
    if not fits(hardware.buffer, footprint(nest, hardware, tilings), double_buffered=mapping.double_buffered)[0]:
        raise InfeasibleError(
            f"{nest.name}: the tiles {dict(mapping.tiles)} do not fit {hardware.name}'s buffer "
            f"({hardware.buffer.total_bytes} bytes)",
            "smaller tiles, or single buffers",
        )
    traffic = dram_traffic(nest, hardware, tilings, mapping.order)
    steps = steps_of(nest, tilings, factors)
    array_bytes = buffer_bytes(nest, hardware, tilings, steps, factors, mapping.stationary)
    transfers = transfers_of(nest, hardware, tilings, traffic, mapping.order)
    work = work_of(nest, hardware, tilings, steps, tile_cycles(nest, tilings, factors), array_bytes)
    cycles = overlapped_cycles(work, transfers) if mapping.double_buffered else serial_cycles(work, transfers)
    total = float(cycles[0]) + fixed_cycles(hardware)
    dram_bytes = float(traffic.total[0])
    joules = operations_j(nest, hardware) + movement_j(hardware, dram_bytes, float(array_bytes[0]))
    return Cost(
        cycles=total,
        joules=joules + static_j(hardware, total),
        dram_bytes=dram_bytes,
        buffer_bytes=float(array_bytes[0]),
        array_cycles=float(steps.cycles[0]) * nest.repeats,
        buffer_cycles=float(array_bytes[0]) / hardware.buffer.bytes_per_cycle,
        dram_cycles=float(transfers.all[0]),
        bound_cycles=bound_cycles(nest, hardware),
    )
