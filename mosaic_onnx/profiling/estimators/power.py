"""The power estimator (section V-B.2, Equations 4 and 5): dynamic power scales with V²f, static is the device's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import ModelError


@dataclass(frozen=True)
class StaticPower:
    """Watts that a device draws at each level whatever it computes; profiled once for a device (Equation 4).

    Attributes:
        watts: by level name.
    """

    watts: Mapping[str, float]

    def at(self, level: Level) -> float:
        """Watts at a level.

        Raises:
            ModelError: the level was not profiled.
        """
        if level.name not in self.watts:
            raise ModelError(f"no static power is known at level {level.name!r}")
        return self.watts[level.name]


def dynamic_scale(level: Level, highest: Level) -> float:
    """V²f / (V_max²·f_max): the factor of Equation 5; voltages that are not known count as equal."""
    voltage = level.voltage_v / highest.voltage_v if level.voltage_v and highest.voltage_v else 1.0
    return voltage**2 * level.frequency_hz / highest.frequency_hz


def dynamic_power_w(total_w: float, static_w: float) -> float:
    """Equation 4 turned round: the dynamic power of a layer at the level where its total was measured, not below 0."""
    return max(total_w - static_w, 0.0)


def power_w(level: Level, highest: Level, dynamic_at_highest_w: float, static: StaticPower) -> float:
    """Equation 4 with Equation 5: a layer's total power at a level.

    Args:
        level: where.
        highest: the device's highest level.
        dynamic_at_highest_w: the layer's dynamic power there.
        static: the device's static power.
    """
    return dynamic_scale(level, highest) * dynamic_at_highest_w + static.at(level)


def no_static_power(device: Device) -> StaticPower:
    """Static power of 0 at every level: what is left where a board's idle power was taken off before."""
    return StaticPower({level.name: 0.0 for level in device.levels})
