"""A backend that notes what it is doing before each call of a vendor's code, so that a crash is blamed on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mosaic_onnx.backends.base import Array, Backend, Memory, Place, Runner, SliceModel
from mosaic_onnx.backends.wrapped import WrappedBackend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.isolation.marks import Mark, Marks


class MarkedBackend(WrappedBackend):
    """A backend whose every call to a vendor's code leaves a mark first."""

    def __init__(self, inner: Backend, marks: Marks) -> None:
        """Wrap a backend."""
        self.marks = marks
        super().__init__(inner)

    def load(self, model: SliceModel, device: Device) -> Runner:
        """See ``Backend``."""
        name = model.model.graph.name
        self.marks.set(self.marks.number(Mark(device.name, "load", name)))
        runner = self.inner.load(model, device)
        self.marks.set(0)
        running, closing = (self.marks.number(Mark(device.name, doing, name)) for doing in ("run", "close"))
        return _MarkedRunner(runner, self.marks, running, closing)

    def memory(self, device: Device) -> Memory | None:
        """See ``Backend``."""
        self.marks.set(self.marks.number(Mark(device.name, "load")))
        memory = self.inner.memory(device)
        self.marks.set(0)
        return memory


@dataclass(frozen=True)
class _MarkedRunner:
    inner: Runner
    marks: Marks
    running: int
    closing: int

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.marks.set(self.running)
        made = self.inner.run(inputs)
        self.marks.set(0)
        return made

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        self.marks.set(self.running)
        bound = self.inner.bind(inputs, outputs)
        self.marks.set(0)
        note, number = self.marks.set, self.running

        def call() -> None:
            note(number)
            bound()
            note(0)

        return call

    def assignment(self) -> Mapping[str, str] | None:
        return self.inner.assignment()

    def close(self) -> None:
        self.marks.set(self.closing)
        self.inner.close()
        self.marks.set(0)
