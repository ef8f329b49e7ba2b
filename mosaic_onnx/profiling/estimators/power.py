"""The power estimator (section V-B.2, Equations 4 and 5): dynamic power scales with V²f, static is per device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import ModelError


@dataclass(frozen=True)
class StaticPower:
    """The watts that a device draws at each level independent of its work; measured once per device (Equation 4).

    Attributes:
        watts: by level name.
    """

    watts: Mapping[str, float]

    def at(self, level: Level) -> float:
        """Return the watts at a level.

        Raises:
            ModelError: the level was not profiled.
        """
        if level.name not in self.watts:
            raise ModelError(f"no static power is known at level {level.name!r}")
        return self.watts[level.name]


def dynamic_scale(level: Level, highest: Level) -> float:
    """Return V²f / (V_max²·f_max), the factor of Equation 5; unknown voltages count as equal."""
    voltage = level.voltage_v / highest.voltage_v if level.voltage_v and highest.voltage_v else 1.0
    return voltage**2 * level.frequency_hz / highest.frequency_hz


def dynamic_power_w(total_w: float, static_w: float) -> float:
    """Return total minus static power (Equation 4) at the level where the total was measured, not below 0."""
    return max(total_w - static_w, 0.0)


def power_w(level: Level, highest: Level, dynamic_at_highest_w: float, static: StaticPower) -> float:
    """Return a layer's total power at a level (Equations 4 and 5).

    Args:
        level: the level.
        highest: the device's highest level.
        dynamic_at_highest_w: the layer's dynamic power there.
        static: the device's static power.
    """
    return dynamic_scale(level, highest) * dynamic_at_highest_w + static.at(level)


def no_static_power(device: Device) -> StaticPower:
    """Return a static power of 0 at every level, for figures from which a board's idle power was subtracted."""
    return StaticPower({level.name: 0.0 for level in device.levels})
