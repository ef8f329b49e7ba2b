"""A backend on the onnx reference evaluator whose memory, delays and failures a test can set; and slices from text."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import parser
from onnx.reference import ReferenceEvaluator

from mosaic_onnx.backends.base import Array, Buffer, FoundDevices, Memory, Place, Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.plans import Plan, Predicted, Schedule, Slice
from mosaic_onnx.runtime.executor import Executor, open_program


def slice_of(text: str) -> SliceModel:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    graph = model.graph
    return SliceModel(model, None, tuple(i.name for i in graph.input), tuple(o.name for o in graph.output))


def plan_of(states: Sequence[str], schedule: Schedule = "sequential") -> Plan:
    slices = tuple(Slice((index,), state) for index, state in enumerate(states))
    return Plan("latency", schedule, "by hand", slices, (), Predicted(0.0, None, 0.0))


@dataclass
class FakeBuffer:
    """Memory that no host code can read: it starts as rubbish."""

    array: Array
    log: list[str]

    def upload(self, array: Array) -> None:
        self.log.append("upload")
        np.copyto(self.array, array)

    def download(self, array: Array) -> None:
        self.log.append("download")
        np.copyto(array, self.array)


@dataclass
class FakeMemory:
    log: list[str]
    made: list[FakeBuffer] = field(default_factory=list)
    refuses: str = ""

    def allocate(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Buffer:
        if str(dtype) == self.refuses:
            raise BackendError(f"no {dtype} here")
        self.made.append(FakeBuffer(np.full(shape, 77, dtype), self.log))
        return self.made[-1]


@dataclass
class FakeRunner:
    backend: FakeBackend
    model: SliceModel
    device: Device
    closed: int = 0
    threads: set[str] = field(default_factory=set)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.threads.add(threading.current_thread().name)
        time.sleep(self.backend.seconds.get(self.device.name, 0.0))
        if self.device.name in self.backend.failing:
            raise BackendError(f"{self.device.name} is broken")
        self.backend.hook(self.device.name)
        evaluator = ReferenceEvaluator(self.model.model)
        results = evaluator.run(list(self.model.outputs), dict(inputs))
        return dict(zip(self.model.outputs, map(np.asarray, results), strict=True))

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        if self.device.name in self.backend.unbindable:
            raise BackendError(f"{self.device.name} binds nothing")

        def call() -> None:
            results = self.run({name: _array(place) for name, place in inputs.items()})
            for name, place in outputs.items():
                np.copyto(_array(place), results[name])

        return call

    def assignment(self) -> Mapping[str, str] | None:
        return None

    def close(self) -> None:
        self.closed += 1


def _array(place: Place) -> Array:
    return place.array if isinstance(place, FakeBuffer) else place  # type: ignore[return-value]


@dataclass
class FakeBackend:
    """A backend with a given behaviour on each device, by the device's name."""

    own_memory: set[str] = field(default_factory=set)
    unbindable: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    memories: dict[str, FakeMemory] = field(default_factory=dict)
    runners: list[FakeRunner] = field(default_factory=list)
    refused_type: str = ""
    hook: Callable[[str], None] = lambda device: None
    name: str = "fake"

    def find(self) -> FoundDevices:
        return FoundDevices()

    def supports(self, node: object, device: Device) -> str | None:
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        if model.model.graph.name == "unloadable":
            raise BackendError("unloadable")
        self.runners.append(FakeRunner(self, model, device))
        return self.runners[-1]

    def memory(self, device: Device) -> Memory | None:
        if device.name not in self.own_memory:
            return None
        return self.memories.setdefault(device.name, FakeMemory(self.log, refuses=self.refused_type))


def open_fake(
    slices: Sequence[SliceModel],
    states: Sequence[str],
    backend: FakeBackend | None = None,
    *,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    schedule: Schedule = "sequential",
) -> Executor:
    devices = {state: Device(state, backend="fake") for state in states}
    return open_program(
        slices, plan_of(states, schedule), devices, {"fake": backend or FakeBackend()}, inputs=inputs, outputs=outputs
    )


def diamond(shape: str = "[4]") -> list[SliceModel]:
    """x -> a = relu; b = -a beside c = 2a; y = b + c = relu(x)."""
    return [
        slice_of(f"top (float{shape} x) => (float{shape} a) {{ a = Relu(x) }}"),
        slice_of(f"left (float{shape} a) => (float{shape} b) {{ b = Neg(a) }}"),
        slice_of(f"right (float{shape} a) => (float{shape} c) {{ c = Add(a, a) }}"),
        slice_of(f"join (float{shape} b, float{shape} c) => (float{shape} y) {{ y = Add(b, c) }}"),
    ]
