"""Runs a partitioned model, one request at a time: what measures, compares and proves plans."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from mosaic_onnx.backends.base import Array, Backend, Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.runtime.dependencies import Tensor, Wiring
from mosaic_onnx.runtime.opening import LoadedPlan, close_quietly, held_cores, load_plan
from mosaic_onnx.runtime.request_run import RequestRun, SliceOrder, Timed, slice_order
from mosaic_onnx.runtime.slot import Slot, checked_inputs
from mosaic_onnx.runtime.trace import Span, Trace
from mosaic_onnx.runtime.workers import Workers


class Executor:
    """A plan that is loaded and ready. One run at a time; more callers wait for each other.

    A sequential plan runs on the calling thread, a concurrent one on a worker a device.
    """

    def __init__(self, loaded: LoadedPlan, devices: Mapping[str, Device]) -> None:
        """Bind the loaded slices; ``open_program`` is the usual way here."""
        self._loaded = loaded.slices
        self._wiring: Wiring = loaded.wiring
        self._slot = Slot(self._loaded, self._wiring)
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._stack.callback(loaded.release)
        self._workers: Workers | None = None
        self._order: SliceOrder = slice_order(self.device_names, self._wiring.needs, concurrent=loaded.is_concurrent)
        if loaded.is_concurrent and len(set(self.device_names)) > 1:
            self._workers = Workers(self.device_names, held_cores(devices))
            self._stack.callback(weakref.finalize(self, self._workers.close))
        for each in self._loaded:
            self._stack.callback(close_quietly, each.runner, each.device)

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
            inputs = checked_inputs(inputs, self._wiring)
            if self._workers is None:
                return self._slot.run(inputs)
            self._slot.take(inputs)
            self._run_on_workers(self._workers, is_timed=False)
            return self._slot.give()

    def run_timed(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], Trace]:
        """As ``run``, and what happened when."""
        with self._lock:
            clock = time.perf_counter
            start = clock()
            inputs = checked_inputs(inputs, self._wiring)
            self._slot.take(inputs)
            taken = clock()
            timed = self._timed_steps() if self._workers is None else self._run_on_workers(self._workers, is_timed=True)
            made = clock()
            outputs = self._slot.give()
            end = clock()
        spans = [Span("inputs", "input", "host", 0.0, taken - start, bytes=_bytes_of(inputs))]
        for index, step, began, ended in sorted(timed, key=lambda each: each[2]):
            lane = self._loaded[index].device
            spans.append(Span(step.name, step.kind, lane, began - start, ended - start, index, step.bytes))
        spans.append(Span("outputs", "output", "host", made - start, end - start, bytes=_bytes_of(outputs)))
        return outputs, Trace(tuple(spans), end - start)

    def place(self, name: str) -> Array | None:
        """The input's buffer: fill it and pass it to ``run`` to save the copy; None where inputs are passed on."""
        return self._slot.place(name)

    def _timed_steps(self) -> list[Timed]:
        clock = time.perf_counter
        timed = []
        for index, steps in enumerate(self._slot.program.steps):
            for step in steps:
                began = clock()
                step.call()
                timed.append((index, step, began, clock()))
        return timed

    def _run_on_workers(self, workers: Workers, *, is_timed: bool) -> list[Timed]:
        """Run every slice once, each on its device's worker.

        Raises:
            BaseException: the first error of a worker, after all of them have stopped. On Ctrl-C the workers finish the
                step that they are in, and KeyboardInterrupt goes on to the caller.
        """
        over = threading.Event()
        steps = self._slot.program.steps
        run = RequestRun(self._order, steps, workers, lambda _: over.set(), is_timed=is_timed)
        run.start()
        try:
            over.wait()
        except BaseException:
            run.stop()
            over.wait()
            raise
        if run.error is not None:
            raise run.error
        return run.timed

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
        return self._slot.program.reasons

    @property
    def buffer_bytes(self) -> int:
        """Host memory for the tensors between slices."""
        return self._slot.program.places.layout.bytes

    @property
    def unshared_buffer_bytes(self) -> int:
        """The bytes of all buffers if none shared memory with another."""
        return self._slot.program.places.layout.unshared_bytes

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
    """Load every slice on its device and make it ready; see ``load_plan`` for arguments and errors."""
    loaded = load_plan(slices, plan, devices, backends, inputs=inputs, outputs=outputs)
    try:
        return Executor(loaded, devices)
    except BaseException:
        loaded.close()
        raise


def _bytes_of(arrays: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in arrays.values())
