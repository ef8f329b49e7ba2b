"""Run each slice at the level that its plan names: the level is set before the slice, if it is not set already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mosaic_onnx.backends.base import Array, Backend, CostSource, LevelControl, Place, Runner, SetsLevels
from mosaic_onnx.core.devices import Device, Level


@dataclass(frozen=True)
class LevelledRunner:
    """A slice whose device is brought to a level before each call.

    Attributes:
        inner: the slice.
        control: of its device, shared by all slices of the device.
        level: where it runs.
    """

    inner: Runner
    control: LevelControl
    level: Level

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays; see ``Runner``."""
        self.control.set_level(self.level)
        return self.inner.run(inputs)

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Fix the places; see ``Runner``."""
        call = self.inner.bind(inputs, outputs)

        def run() -> None:
            self.control.set_level(self.level)
            call()

        return run

    def assignment(self) -> Mapping[str, str] | None:
        """Return the provider of each node; see ``Runner``."""
        return self.inner.assignment()

    def close(self) -> None:
        """Give the slice back; the level stays until the plan is closed."""
        self.inner.close()


@dataclass
class LevelControls:
    """The controls of a plan's devices, one each, made when a slice first needs it."""

    controls: dict[str, LevelControl] = field(default_factory=dict)

    def levelled(self, runner: Runner, backend: Backend, device: Device) -> Runner:
        """Return the runner held at its device's one level; the runner itself where no level can be set.

        Args:
            runner: the slice.
            backend: of its device.
            device: with the one level that the plan names, or none.

        Raises:
            BackendError: the level cannot be set by this process.
        """
        if not device.levels or device.host or isinstance(backend, CostSource) or not isinstance(backend, SetsLevels):
            return runner
        if device.name not in self.controls:
            self.controls[device.name] = backend.level_control(device)
        return LevelledRunner(runner, self.controls[device.name], device.levels[0])

    def close(self) -> None:
        """Give all devices back to their governors."""
        for control in self.controls.values():
            control.close()
