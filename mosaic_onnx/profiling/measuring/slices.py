"""Measure one slice in this process: compile it, run it on the reference's tensors, compare, time it.

A provider's claim that it can run a node is not reliable: some accept nodes and then fail to compile them, some
compute wrong results. A slice counts as supported only if it compiles, runs and gives the right result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from mosaic_onnx.backends.base import Array, Backend, KernelTime, Memory, Place, RecordsKernels, Runner, SliceModel
from mosaic_onnx.backends.hardware.energy_meters import find_meters
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError, failure_line
from mosaic_onnx.profiling.energy.joules import Energy, measure_energy
from mosaic_onnx.profiling.measuring.timing import TimeBudget, Timing, time_call, time_in_flight
from mosaic_onnx.verification.differences import Difference, difference

SPREAD = 0.1
"""Half of the runs may take so much more than the least, relative to it, before other load is suspected."""
SHORTEST_S = 1e-3
"""Below this, interrupts and clocks alone spread the runs of a slice."""
Loaded = TypeVar("Loaded", bound=Runner)


@dataclass(frozen=True)
class SliceTrial:
    """The inputs that a slice is run on, and the expected outputs.

    Attributes:
        inputs: the reference's tensors that the slice reads.
        expected: the reference's tensors that the slice produces; absent ones are not compared.
        budget: time for the runs.
        known_s: what its layers take on another device; None where nobody knows.
    """

    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    budget: TimeBudget
    known_s: float | None = None


@dataclass(frozen=True)
class SliceMeasurement:
    """The measurement of one slice on one device.

    Attributes:
        reason: why the device cannot compile or run the slice; empty where it can.
        wrong: why its result is not the reference's; empty where it is (see ``tolerance.with_verdict``).
        seconds: the minimum time of a run without transfers; None where it cannot run or was only compiled.
        median_s: the median time of a run.
        run_count: number of runs.
        load_s: time to compile it.
        error: largest relative error of its outputs against the reference; None where nothing was compared.
        is_lasting: another try would end the same way, unlike after a crash or a hang.
        differences: of the outputs that are not bit-identical to the reference's; dropped once there is a verdict.
        spell_count: number of separate measurements; the figures are those of the fastest.
        is_disturbed: other load slowed half of the runs by more than ``SPREAD``; the cache does not answer with it.
    """

    reason: str = ""
    wrong: str = ""
    seconds: float | None = None
    median_s: float | None = None
    run_count: int = 0
    load_s: float = 0.0
    error: float | None = None
    is_lasting: bool = True
    differences: tuple[Difference, ...] = ()
    spell_count: int = 1
    is_disturbed: bool = False

    def least(self, other: SliceMeasurement) -> SliceMeasurement:
        """Return the faster of this and another measurement; other load may have disturbed one of them."""
        count = self.spell_count + other.spell_count
        is_better = other.seconds is not None and (self.seconds is None or other.seconds < self.seconds)
        return replace(other if is_better else self, spell_count=count)


def probe_slice(backend: Backend, device: Device, model: SliceModel) -> SliceMeasurement:
    """Compile a slice and discard it, to see whether the device accepts it."""
    started = time.perf_counter()
    loaded = _loaded(partial(backend.load, model, device), device)
    if isinstance(loaded, SliceMeasurement):
        return loaded
    loaded.close()
    return SliceMeasurement(load_s=time.perf_counter() - started)


def measure_slice(backend: Backend, device: Device, model: SliceModel, trial: SliceTrial) -> SliceMeasurement:
    """Compile, run, compare and time a slice."""
    started = time.perf_counter()
    loaded = _loaded(partial(backend.load, model, device), device)
    if isinstance(loaded, SliceMeasurement):
        return loaded
    try:
        return _measured(loaded, time.perf_counter() - started, backend, device, trial)
    finally:
        loaded.close()


def measure_with_kernels(
    backend: RecordsKernels, device: Device, model: SliceModel, trial: SliceTrial
) -> tuple[SliceMeasurement, tuple[KernelTime, ...]]:
    """Measure a slice as ``measure_slice`` does, and each of its kernels; it is compiled once for both."""
    started = time.perf_counter()
    loaded = _loaded(partial(backend.load_recording, model, device), device)
    if isinstance(loaded, SliceMeasurement):
        return loaded, ()
    load_s = time.perf_counter() - started
    try:
        kernels = loaded.kernels(trial.inputs, trial.budget.seconds)
    except Exception:  # a provider may raise anything; if it is the slice's own fault, the run below says so
        kernels = ()
    try:
        return _measured(loaded, load_s, backend, device, trial), kernels
    finally:
        loaded.close()


def _measured(loaded: Runner, load_s: float, backend: Backend, device: Device, trial: SliceTrial) -> SliceMeasurement:
    """Return the measurement of a slice that took ``load_s`` to compile."""
    try:
        got = loaded.run(trial.inputs)
        found = [difference(name, got.get(name), array) for name, array in trial.expected.items()]
        differences = tuple(each for each in found if not each.is_equal)
        timing = _time(loaded, backend.memory(device), trial.inputs, got, trial.budget)
        return SliceMeasurement(
            seconds=timing.seconds,
            median_s=timing.median_s,
            run_count=timing.run_count,
            load_s=load_s,
            error=_largest(differences) if trial.expected else None,
            is_disturbed=_is_disturbed(timing),
            differences=differences,
        )
    except Exception as failure:  # a provider may raise anything
        return SliceMeasurement(f"compiles, but does not run: {_reason(failure, device)}", load_s=load_s)


def measure_slice_energy(
    backend: Backend, device: Device, model: SliceModel, inputs: Mapping[str, Array], least_s: float
) -> Energy:
    """Measure the joules of one run of a slice with the meters of this machine.

    Args:
        backend: the device's backend.
        device: where it runs.
        model: the slice; it has run there before.
        inputs: the tensors that it reads.
        least_s: how long to repeat it.

    Raises:
        BackendError: the slice cannot be loaded or run.
    """
    runner = backend.load(model, device)
    try:
        meters = find_meters().meters
        return measure_energy(lambda: _drop(runner.run(inputs)), meters, least_s=least_s)
    finally:
        runner.close()


def _is_disturbed(timing: Timing) -> bool:
    """Return whether the runs lie too far apart; very short runs always do."""
    return timing.seconds >= SHORTEST_S and timing.median_s > (1 + SPREAD) * timing.seconds


def _reason(failure: BaseException, device: Device) -> str:
    """Return the provider's message without the names of slice and device, which the context gives."""
    text = failure_line(failure)
    before, named, words = text.partition(f" on {device.name}: ")
    return words if named and before.startswith("slice ") else text


def _loaded(load: Callable[[], Loaded], device: Device) -> Loaded | SliceMeasurement:
    """Return what was loaded, or why nothing was."""
    try:
        return load()
    except UsageError:  # the device's options are wrong, not the layer
        raise
    except Exception as failure:  # a provider may raise anything
        return SliceMeasurement(f"does not compile: {_reason(failure, device)}")


def _largest(differences: Sequence[Difference]) -> float | None:
    """Return the largest relative error of floating-point outputs; None where it is not finite."""
    error = max((each.relative for each in differences if not each.is_discrete), default=0.0)
    return error if np.isfinite(error) else None


def _time(
    runner: Runner, memory: Memory | None, inputs: Mapping[str, Array], got: Mapping[str, Array], budget: TimeBudget
) -> Timing:
    """Time the slice as the executor runs it: with bound tensors where possible."""
    try:
        if memory is None:
            outputs = {name: np.empty_like(array) for name, array in got.items()}
            return time_call(runner.bind(_contiguous(inputs), outputs), budget)
        return _time_in_own_memory(runner, memory, inputs, got, budget)
    except BackendError:  # shapes or types that cannot be bound
        return time_call(lambda: _drop(runner.run(inputs)), budget)


def _drop(outputs: Mapping[str, Array]) -> None:
    """Discard the outputs of a timed run."""


def _time_in_own_memory(
    runner: Runner, memory: Memory, inputs: Mapping[str, Array], got: Mapping[str, Array], budget: TimeBudget
) -> Timing:
    """Time a slice with inputs and outputs in the device's memory; the smallest output's download is the barrier."""
    places: dict[str, Place] = {}
    for name, array in _contiguous(inputs).items():
        buffer = memory.allocate(array.dtype, array.shape)
        buffer.upload(array)
        places[name] = buffer
    results = {name: memory.allocate(array.dtype, array.shape) for name, array in got.items()}
    smallest = min(got, key=lambda name: got[name].nbytes)
    call = runner.bind(places, results)
    return time_in_flight(call, partial(results[smallest].download, np.empty_like(got[smallest])), budget)


def _contiguous(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
