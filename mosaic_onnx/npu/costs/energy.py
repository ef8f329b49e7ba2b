"""Energy: what every mapping pays for its operations, and what it pays for moving bytes and for time."""

from __future__ import annotations

from typing import TypeVar

from mosaic_onnx.npu.costs.tiling import Floats
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest

Amount = TypeVar("Amount", float, Floats)


def operations_j(nest: LoopNest, hardware: Hardware) -> float:
    """Return the joules that no mapping changes: multiply-accumulates with their register accesses.

    Each reads a weight and an input and reads and writes a partial sum; a partial sum passed to a neighbouring PE is
    taken to cost as much as one kept (Eyeriss: a hop 2, a register access 1).
    """
    size, energy = hardware.precision, hardware.energy
    moved = size.weight_bytes + size.activation_bytes + 2 * size.partial_sum_bytes
    return nest.macs * (energy.mac_j + energy.register_j_per_byte * moved)


def movement_j(hardware: Hardware, dram_bytes: Amount, array_bytes: Amount) -> Amount:
    """Return the joules of moving bytes: what passes DRAM passes the buffer too."""
    energy = hardware.energy
    return dram_bytes * (energy.dram_j_per_byte + energy.buffer_j_per_byte) + array_bytes * energy.buffer_j_per_byte


def static_j(hardware: Hardware, cycles: Amount) -> Amount:
    """Return the joules drawn over the time that the layer takes."""
    return cycles * (hardware.energy.static_w / hardware.clock_hz)


def operand_accesses_j(
    fetches: tuple[float, float, float, float], energies: tuple[float, float, float, float], *, is_partial_sum: bool
) -> float:
    """Return the energy of one operand element moved a·b·c·d times (Eyeriss, ISCA'16, Eqs. 3 and 4).

    Args:
        fetches: a from DRAM, b from the buffer, c over the array, d from the register file, each per move above.
        energies: of one access at each of the four levels, in the same order.
        is_partial_sum: sums are read and written: ``(2a-1)``, ``2a(b-1)``, ``ab(c-1)``, ``2abc(d-1)`` accesses.
    """
    a, b, c, d = fetches
    if is_partial_sum:
        accesses = (2 * a - 1, 2 * a * (b - 1), a * b * (c - 1), 2 * a * b * c * (d - 1))
    else:
        accesses = (a, a * b, a * b * c, a * b * c * d)
    return sum(count * energy for count, energy in zip(accesses, energies, strict=True))
