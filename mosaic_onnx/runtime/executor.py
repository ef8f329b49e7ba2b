"""Runs a partitioned model: slices loaded once, tensors in buffers made once, one call a slice."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

import numpy as np

from mosaic_onnx.backends.base import Array, Backend, Memory, Runner, SliceModel
from mosaic_onnx.backends.cores import parse_cores
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.runtime.dependencies import Tensor, Wiring, wire
from mosaic_onnx.runtime.steps import Loaded, Program, build
from mosaic_onnx.runtime.trace import Span, Trace
from mosaic_onnx.runtime.worker_pool import Crew, Task, Timed


class _Schedule(Protocol):
    """How the steps of a program are gone through."""

    def run(self) -> None: ...

    def run_timed(self) -> list[Timed]: ...


class Executor:
    """A program that is loaded and ready. One run at a time; more callers wait for each other."""

    def __init__(
        self, loaded: Sequence[Loaded], wiring: Wiring, devices: Mapping[str, Device], concurrent: bool
    ) -> None:
        """Bind the loaded slices; ``open_program`` is the usual way here."""
        self._loaded = tuple(loaded)
        self._wiring = wiring
        self._program = build(loaded, wiring)
        self._lock = threading.Lock()
        self._schedule: _Schedule = _Sequential(self._program)
        self._stack = ExitStack()
        if concurrent and len({each.device for each in loaded}) > 1:
            crew = Crew(_tasks(self._program, loaded, wiring), _held_cores(devices))
            self._schedule = _Concurrent(crew)
            self._stack.callback(weakref.finalize(self, crew.close))
        for each in loaded:
            self._stack.callback(each.runner.close)

    # ---- running -----------------------------------------------------------------------------------------------------

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            inputs: host arrays by name, all of the model's inputs.

        Returns:
            The model's outputs, in arrays that belong to the caller.

        Raises:
            ModelError: an input is missing, unknown, or not of the model's type and shape.
            BackendError: a device failed.
        """
        with self._lock:
            self._take(inputs)
            self._schedule.run()
            return self._give()

    def run_timed(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], Trace]:
        """As ``run``, and what happened when."""
        with self._lock:
            clock = time.perf_counter
            start = clock()
            self._take(inputs)
            taken = clock()
            timed = self._schedule.run_timed()
            made = clock()
            outputs = self._give()
            end = clock()
        spans = [Span("inputs", "input", "host", 0.0, taken - start, bytes=_bytes_of(inputs))]
        for index, step, began, ended in sorted(timed, key=lambda each: each[2]):
            lane = self._loaded[index].device
            spans.append(Span(step.name, step.kind, lane, began - start, ended - start, index, step.bytes))
        spans.append(Span("outputs", "output", "host", made - start, end - start, bytes=_bytes_of(outputs)))
        return outputs, Trace(tuple(spans), end - start)

    def place(self, name: str) -> Array | None:
        """Where an input lies: fill it and hand it to ``run`` to save the copy; None where inputs are handed over."""
        return self._program.places.host.get(name) if name in self._wiring.inputs else None

    def _take(self, inputs: Mapping[str, Array]) -> None:
        if len(inputs) != len(self._wiring.inputs):
            self._complain_of_names(inputs)
        self._program.values.clear()
        for name in self._wiring.inputs:
            if name not in inputs:
                self._complain_of_names(inputs)
            array = np.asarray(inputs[name])
            place = self._program.places.host.get(name)
            if place is None:
                self._program.values[name] = array
            elif array is not place:
                if array.shape != place.shape or array.dtype != place.dtype:
                    raise ModelError(
                        f"input {name} is {array.dtype} {list(array.shape)}; "
                        f"the model was compiled for {place.dtype} {list(place.shape)}"
                    )
                np.copyto(place, array)

    def _complain_of_names(self, inputs: Mapping[str, Array]) -> None:
        missing = [name for name in self._wiring.inputs if name not in inputs]
        unknown = [name for name in inputs if name not in self._wiring.inputs]
        if missing or unknown:
            faults = [f"{name} is missing" for name in missing] + [f"{name} is no input" for name in unknown]
            raise ModelError("; ".join(faults), f"the model takes {', '.join(self._wiring.inputs) or 'no inputs'}")

    def _give(self) -> dict[str, Array]:
        host, values = self._program.places.host, self._program.values
        outputs = {}
        for name in self._wiring.outputs:
            if name in host:
                outputs[name] = host[name].copy()
            elif name in self._wiring.inputs:
                outputs[name] = np.array(values[name])
            else:
                outputs[name] = values[name]
        values.clear()
        return outputs

    # ---- what it is made of ------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return self._wiring.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        return self._wiring.outputs

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every tensor between slices, or between them and the caller."""
        return self._wiring.tensors

    @property
    def runners(self) -> tuple[Runner, ...]:
        """[slice] what runs it; not to be called while the program runs."""
        return tuple(each.runner for each in self._loaded)

    @property
    def device_names(self) -> tuple[str, ...]:
        """[slice] the device that runs it."""
        return tuple(each.device for each in self._loaded)

    @property
    def handed_over(self) -> Mapping[int, str]:
        """By slice that does not run in place, why: its tensors are copied from call to call."""
        return self._program.reasons

    @property
    def buffer_bytes(self) -> int:
        """Host memory for the tensors between slices."""
        return self._program.places.layout.bytes

    @property
    def unshared_buffer_bytes(self) -> int:
        """What they would take if none shared memory with another."""
        return self._program.places.layout.unshared_bytes

    def close(self) -> None:
        """Give threads and sessions back; calling it twice is harmless."""
        with self._lock:
            self._stack.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_program(
    slices: Sequence[SliceModel],
    plan: Plan,
    devices: Mapping[str, Device],
    backends: Mapping[str, Backend],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Executor:
    """Load every slice on its device and make it ready.

    Args:
        slices: one a slice of the plan, in its order.
        plan: states of the slices, and the schedule.
        devices: by name; a slice at a level is loaded on a device that has this level only.
        backends: by name.
        inputs: the model's inputs.
        outputs: the model's outputs.

    Raises:
        UsageError: the plan names a device, level or backend that is not given.
        ModelError: the slices do not fit together.
        BackendError: a slice cannot be loaded.
    """
    places = [_at_level(devices, one.state) for one in plan.slices]
    concurrent = plan.schedule == "concurrent"
    wiring = wire(slices, inputs, outputs, [device.name for device in places], concurrent)
    memories: dict[str, Memory | None] = {}
    with ExitStack() as undo:
        loaded = []
        for model, device in zip(slices, places, strict=True):
            backend = _backend(backends, device)
            if device.name not in memories:
                memories[device.name] = backend.memory(device)
            runner = backend.load(model, device)
            undo.callback(runner.close)
            loaded.append(Loaded(model, runner, device.name, memories[device.name]))
        executor = Executor(loaded, wiring, devices, concurrent)
        undo.pop_all()
        return executor


def _at_level(devices: Mapping[str, Device], state: str) -> Device:
    name, _, level = state.partition("@")
    device = devices.get(device_of(state))
    if device is None:
        raise UsageError(f"the plan runs a slice on {name}, which is not here", f"devices: {', '.join(devices)}")
    if not level:
        return device
    levels = tuple(each for each in device.levels if each.name == level)
    if not levels:
        raise UsageError(f"device {name} has no level {level}", f"levels: {', '.join(x.name for x in device.levels)}")
    return replace(device, levels=levels)


def _backend(backends: Mapping[str, Backend], device: Device) -> Backend:
    if device.backend not in backends:
        raise UsageError(
            f"device {device.name} wants backend {device.backend!r}, which is not installed",
            f"installed: {', '.join(backends)}",
        )
    return backends[device.backend]


def _tasks(program: Program, loaded: Sequence[Loaded], wiring: Wiring) -> dict[str, list[Task]]:
    crossing = [
        tuple(other for other in needs if loaded[other].device != loaded[index].device)
        for index, needs in enumerate(wiring.needs)
    ]
    awaited = {other for waits in crossing for other in waits}
    tasks: dict[str, list[Task]] = {}
    for index, each in enumerate(loaded):
        task = Task(index, program.steps[index], crossing[index], index in awaited)
        tasks.setdefault(each.device, []).append(task)
    return tasks


def _held_cores(devices: Mapping[str, Device]) -> dict[str, frozenset[int]]:
    """Where each worker is held: the first of its device's cores, as a runner holds its caller."""
    return {
        name: frozenset(parse_cores(str(device.options["cores"]))[:1])
        for name, device in devices.items()
        if "cores" in device.options
    }


class _Sequential:
    """One step after the other, on the calling thread."""

    def __init__(self, program: Program) -> None:
        self._calls = [step.call for steps in program.steps for step in steps]
        self._steps = [(index, step) for index, steps in enumerate(program.steps) for step in steps]

    def run(self) -> None:
        for call in self._calls:
            call()

    def run_timed(self) -> list[Timed]:
        clock = time.perf_counter
        timed = []
        for index, step in self._steps:
            start = clock()
            step.call()
            timed.append((index, step, start, clock()))
        return timed


class _Concurrent:
    """Every device's steps on its worker."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def run(self) -> None:
        self._crew.run()

    def run_timed(self) -> list[Timed]:
        return self._crew.run()


def _bytes_of(arrays: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in arrays.values())
