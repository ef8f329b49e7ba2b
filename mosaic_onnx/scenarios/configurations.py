"""The ways to run a slice: on each device its fastest level, on each unit its fastest device.

Devices that share a unit are configurations of one piece of hardware (threads, cores, precision, optimisation level):
which of them is best hangs on the slice, so it is chosen slice by slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.memory import check_memory
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.planner.core.simulate import slice_cost


class Option(NamedTuple):
    """A way to run a slice."""

    state: int
    device: int
    unit: int
    seconds: float


def device_options(table: CostTable, layers: tuple[int, ...], unit_of_state: Sequence[int]) -> tuple[Option, ...]:
    """Return the fastest state of each device that can run a slice and hold it, in the order of the devices.

    Args:
        table: the model's costs.
        layers: of the slice, in the order in which it runs them.
        unit_of_state: [S] unit that each state occupies.
    """
    best: dict[int, Option] = {}
    rows = table.rows
    for state, unit in enumerate(unit_of_state):
        if any(rows.layer_s[layer][state] == float("inf") for layer in layers):
            continue
        try:
            check_memory(table, (PlacedSlice(layers, state),))
        except InfeasibleError:
            continue
        device = rows.state_device[state]
        seconds = slice_cost(table, PlacedSlice(layers, state)).seconds
        if device not in best or seconds < best[device].seconds:
            best[device] = Option(state, device, unit, seconds)
    return tuple(best[device] for device in sorted(best))


def unit_options(table: CostTable, layers: tuple[int, ...], unit_of_state: Sequence[int]) -> tuple[Option, ...]:
    """Return the fastest way to run a slice on each unit, by unit; arguments as ``device_options``."""
    best: dict[int, Option] = {}
    for option in device_options(table, layers, unit_of_state):
        if option.unit not in best or option.seconds < best[option.unit].seconds:
            best[option.unit] = option
    return tuple(best[unit] for unit in sorted(best))
