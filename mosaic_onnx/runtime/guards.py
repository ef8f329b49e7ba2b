"""Guards of production runs: check what a slice makes, and run it elsewhere when its device fails.

A guard is a backend around a backend: sessions and executors load slices through it and know nothing of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mosaic_onnx.backends.base import Array, Backend, Memory, Place, Runner, SliceModel
from mosaic_onnx.backends.wrapped import WrappedBackend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, DeviceError, failure_line

RANGE_FACTOR = 1000.0
"""A value so many times larger than the largest of the sample that the model was compiled with is taken for broken."""
_LOG = logging.getLogger(__name__)
Ranges = Mapping[str, tuple[float, float]]
"""By tensor, its least and its largest value at compile time."""


@dataclass
class Incidents:
    """The failures that a session survived.

    Attributes:
        fallbacks: how often a device failed and another took its slice over, by what is said of it.
    """

    fallbacks: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of slices run on another device."""
        return sum(self.fallbacks.values())

    def note(self, words: str) -> None:
        """Count a fallback, and tell of it the first time."""
        if words not in self.fallbacks:
            _LOG.warning("%s", words)
        self.fallbacks[words] = self.fallbacks.get(words, 0) + 1


@dataclass(frozen=True)
class Guards:
    """The guards of a session.

    Attributes:
        validate: refuse NaN, infinities and values far outside of the sample's range that a slice makes.
        ranges: by tensor, the sample's range; a tensor that is absent has none.
        fallbacks: devices that take slices over, in this order; none for no fallback.
        backends: of those devices, by name.
        portable: by outputs, the slice that other devices load, where the one loaded first fits its device only.
        incidents: where fallbacks are counted.
    """

    validate: bool = False
    ranges: Ranges = field(default_factory=dict)
    fallbacks: tuple[Device, ...] = ()
    backends: Mapping[str, Backend] = field(default_factory=dict)
    portable: Mapping[tuple[str, ...], SliceModel] = field(default_factory=dict)
    incidents: Incidents = field(default_factory=Incidents)


class GuardedBackend(WrappedBackend):
    """A backend whose runners are guarded."""

    def __init__(self, inner: Backend, guards: Guards) -> None:
        """Wrap a backend."""
        self._guards = guards
        super().__init__(inner)

    def around(self, inner: Backend) -> GuardedBackend:
        """Return another backend, guarded in the same way."""
        return GuardedBackend(inner, self._guards)

    def memory(self, device: Device) -> Memory | None:
        """None: what a slice makes must lie where it can be checked, and another device can take it over."""
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Load a slice, on the device or on one that takes over.

        Raises:
            BackendError: no device loads it.
        """
        return GuardedRunner(model, device, self.inner, self._guards)


class GuardedRunner:
    """A runner whose results are checked, and which another device replaces when its own fails."""

    def __init__(self, model: SliceModel, device: Device, backend: Backend, guards: Guards) -> None:
        """Load the slice."""
        self._model = model
        self._guards = guards
        # A device of another machine has a child of its own plan's, which only the plan can start.
        self._left = [each for each in guards.fallbacks if each.name != device.name and not each.host]
        self._device = device
        self._name = model.model.graph.name or ", ".join(model.outputs)
        try:
            self._runner = backend.load(model, device)
        except Exception as failure:  # a foreign backend may raise anything
            self._runner = self._next(failure)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run, and on a failure again elsewhere.

        Raises:
            DeviceError: it failed, or made what is refused, and no other device is left.
        """
        while True:
            try:
                made = self._runner.run(inputs)
                self._check(made)
                return made
            except Exception as failure:
                self._runner = self._next(failure)

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Fix where inputs and outputs lie; see ``run`` for what the call does on a failure.

        Raises:
            BackendError: a place is not host memory, or cannot be bound.
        """
        read, made = _arrays(inputs), _arrays(outputs)
        bound: tuple[Runner, Any] = (self._runner, self._runner.bind(inputs, outputs))

        def call() -> None:
            runner, inner = bound
            if runner is self._runner:
                try:
                    inner()
                    self._check(made)
                    return
                except Exception as failure:
                    self._runner = self._next(failure)
            results = self.run(read)
            for name, array in made.items():
                np.copyto(array, results[name])

        return call

    def assignment(self) -> Mapping[str, str] | None:
        """Provider that runs each node, by node name."""
        return self._runner.assignment()

    def close(self) -> None:
        """Give memory back."""
        self._runner.close()

    def _next(self, failure: Exception) -> Runner:
        """Load the slice on the next device that takes it.

        Raises:
            DeviceError: none is left; the message names the slice and the device that failed first.
        """
        said = failure_line(failure)
        words = said if self._device.name in said else f"slice {self._name!r} on {self._device.name}: {said}"
        model = self._guards.portable.get(self._model.outputs, self._model)
        while self._left:
            device = self._left.pop(0)
            try:
                runner = self._guards.backends[device.backend].load(model, device)
            except Exception as error:  # a foreign backend may raise anything
                words += f"; on {device.name}: {failure_line(error)}"
                continue
            self._guards.incidents.note(f"{words}: {device.name} takes it over")
            self._device = device
            return runner
        raise DeviceError(words, device=self._device.name) from failure

    def _check(self, made: Mapping[str, Array]) -> None:
        """Refuse what no sound slice makes.

        Raises:
            BackendError: a value is not finite, or far outside of what the sample had.
        """
        if not self._guards.validate:
            return
        for name, array in made.items():
            if not np.issubdtype(array.dtype, np.floating) or not array.size:
                continue
            low, high = float(array.min()), float(array.max())  # NaN wherever there is one
            limits = self._guards.ranges.get(name)
            most = None if limits is None else RANGE_FACTOR * max(abs(limits[0]), abs(limits[1]), 1e-6)
            if not (np.isfinite(low) and np.isfinite(high)):
                raise BackendError(f"it made tensor {name!r} with values that are not finite")
            if most is not None and max(abs(low), abs(high)) > most:
                raise BackendError(
                    f"it made tensor {name!r} with values of {low:.4g} to {high:.4g}, beyond ±{most:.4g}"
                )


def _arrays(places: Mapping[str, Place]) -> dict[str, Array]:
    arrays = {name: place for name, place in places.items() if isinstance(place, np.ndarray)}
    if len(arrays) < len(places):
        raise BackendError("a guarded slice reads and writes host memory")
    return arrays


def guarded(backends: Mapping[str, Backend], guards: Guards) -> dict[str, Backend]:
    """Return the backends with their runners guarded, where there is anything to guard."""
    if not guards.validate and not guards.fallbacks:
        return dict(backends)
    return {name: GuardedBackend(backend, guards) for name, backend in backends.items()}
