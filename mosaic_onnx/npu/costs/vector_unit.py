"""Cost of what does not run on the array: element-wise work, pooling, normalisation, movement, vector depthwise."""

from __future__ import annotations

from mosaic_onnx.npu.costs.evaluate import Cost
from mosaic_onnx.npu.costs.latency import fixed_cycles
from mosaic_onnx.npu.costs.traffic import compulsory_bytes
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest, VectorWork


def vector_cost(work: VectorWork, hardware: Hardware) -> Cost:
    """Return the cost of vector work: lanes and DRAM overlap, every element passes once."""
    moved = (work.input_elements + work.output_elements) * hardware.precision.activation_bytes
    return _cost(hardware, work.operations / hardware.vector.lanes, float(moved), work.operations)


def vector_depthwise_cost(nest: LoopNest, hardware: Hardware) -> Cost:
    """Return the cost of a depthwise convolution on the vector unit, its rows kept in the buffer."""
    rate = hardware.vector.depthwise_macs_per_cycle or hardware.vector.lanes
    return _cost(hardware, nest.macs / rate, float(compulsory_bytes(nest, hardware)), nest.macs)


def _cost(hardware: Hardware, lane_cycles: float, moved_bytes: float, operations: int) -> Cost:
    energy = hardware.energy
    dram_cycles = moved_bytes / hardware.dram.bytes_per_cycle
    buffer_cycles = moved_bytes / hardware.buffer.bytes_per_cycle
    least = max(lane_cycles, dram_cycles)
    cycles = max(least, buffer_cycles) + fixed_cycles(hardware)
    joules = operations * energy.vector_j + moved_bytes * (energy.dram_j_per_byte + 2 * energy.buffer_j_per_byte)
    return Cost(
        cycles=cycles,
        joules=joules + cycles * energy.static_w / hardware.clock_hz,
        dram_bytes=moved_bytes,
        buffer_bytes=moved_bytes,
        array_cycles=lane_cycles,
        buffer_cycles=buffer_cycles,
        dram_cycles=dram_cycles,
        bound_cycles=least,
    )
