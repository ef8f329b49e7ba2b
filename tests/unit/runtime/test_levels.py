"""A slice runs at the level that its plan names; the device is given back when the plan is closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array, LevelControl, LevelOffer, Place
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.runtime.levels import LevelControls
from tests.unit.profiling.fake_backends import Fake

LOW, HIGH = Level("low", 1e9), Level("high", 2e9)


@dataclass
class Recorded:
    """A control that remembers what it was told."""

    told: list[str] = field(default_factory=list)

    def set_level(self, level: Level) -> None:
        self.told.append(level.name)

    def read_hz(self) -> float | None:
        return None

    def close(self) -> None:
        self.told.append("given back")


@dataclass(frozen=True)
class Levelled(Fake):
    """A backend whose devices have levels."""

    name: str = "levelled"
    control: Recorded = field(default_factory=Recorded)

    def offered_levels(self, device: Device) -> LevelOffer:
        return LevelOffer((LOW, HIGH))

    def level_control(self, device: Device) -> LevelControl:
        return self.control


@dataclass
class Doubling:
    """A runner that doubles ``x``."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": 2 * inputs["x"]}  # type: ignore[operator]

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        return lambda: None

    def assignment(self) -> Mapping[str, str] | None:
        return None

    def close(self) -> None:
        return None


def test_each_call_sets_the_slices_own_level_first() -> None:
    backend, controls = Levelled(), LevelControls()
    low, high = (controls.levelled(Doubling(), backend, Device("big", levels=(level,))) for level in (LOW, HIGH))
    assert low.run({"x": np.ones(1)})["y"] == 2
    high.bind({}, {})()
    controls.close()
    assert backend.control.told == ["low", "high", "given back"]


def test_a_device_without_a_level_is_left_alone() -> None:
    backend, runner = Levelled(), Doubling()
    assert LevelControls().levelled(runner, backend, Device("big")) is runner
    assert backend.control.told == []
