"""Measure one slice in this process: compile it, run it on the reference's tensors, compare, time it.

A provider's claim that it can run a node is worth little: some accept nodes and then fail to compile them, some run and
compute something else. So a slice counts as supported only when all three went well; what went wrong is the reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mosaic_onnx.backends.base import Array, Backend, Memory, Place, Runner, SliceModel
from mosaic_onnx.backends.hardware.energy_meters import find_meters
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError, failure_line
from mosaic_onnx.profiling.energy import Energy, measure_energy
from mosaic_onnx.profiling.measuring.timing import TimeBudget, Timing, time_call, time_in_flight
from mosaic_onnx.verification.differences import Difference, difference


@dataclass(frozen=True)
class SliceTrial:
    """What a slice is run on, and what its result is held against.

    Attributes:
        inputs: the reference's tensors that it reads.
        expected: the reference's tensors that it makes; one that is absent is not compared.
        budget: how long to time it.
        known_s: what its layers take on another device; None where nobody knows.
    """

    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    budget: TimeBudget
    known_s: float | None = None


@dataclass(frozen=True)
class SliceMeasurement:
    """What measuring one slice on one device gave.

    Attributes:
        reason: why the device cannot compile or run the slice; empty where it can.
        wrong: why its result is not the reference's; empty where it is (``soundness.judged`` says).
        seconds: one run, transfers left out; None where it cannot run or was only compiled.
        median_s: the median over the runs, beside the minimum that ``seconds`` is.
        run_count: how many runs that is the minimum of.
        load_s: compiling it.
        error: largest relative error of its outputs against the reference; None where nothing was compared.
        is_lasting: the next try would end the same way; not so for a crash or a hang.
        differences: of the outputs that are not the reference's bit for bit, until they are judged.
        spell_count: times, apart from each other, that it was measured; the figures are the least spell's.
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

    def least(self, other: SliceMeasurement) -> SliceMeasurement:
        """This and another spell taken together: what disturbed one may not have disturbed the other."""
        count = self.spell_count + other.spell_count
        is_better = other.seconds is not None and (self.seconds is None or other.seconds < self.seconds)
        return replace(other if is_better else self, spell_count=count)


def probe_slice(backend: Backend, device: Device, model: SliceModel) -> SliceMeasurement:
    """Compile a slice and throw it away: does the device take it?"""
    started = time.perf_counter()
    loaded = _load(backend, device, model)
    if isinstance(loaded, SliceMeasurement):
        return loaded
    loaded.close()
    return SliceMeasurement(load_s=time.perf_counter() - started)


def measure_slice(backend: Backend, device: Device, model: SliceModel, trial: SliceTrial) -> SliceMeasurement:
    """Compile, run, compare and time a slice."""
    started = time.perf_counter()
    loaded = _load(backend, device, model)
    if isinstance(loaded, SliceMeasurement):
        return loaded
    load_s = time.perf_counter() - started
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
            differences=differences,
        )
    except Exception as failure:  # a provider may raise anything
        return SliceMeasurement(f"compiles, but does not run: {_reason(failure, device)}", load_s=load_s)
    finally:
        loaded.close()


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


def _reason(failure: BaseException, device: Device) -> str:
    """The provider's own words: which slice and which device is clear from where they will stand."""
    text = failure_line(failure)
    before, named, words = text.partition(f" on {device.name}: ")
    return words if named and before.startswith("slice ") else text


def _load(backend: Backend, device: Device, model: SliceModel) -> Runner | SliceMeasurement:
    try:
        return backend.load(model, device)
    except UsageError:  # the device's options are wrong: no layer's fault
        raise
    except Exception as failure:  # a provider may raise anything
        return SliceMeasurement(f"does not compile: {_reason(failure, device)}")


def _largest(differences: Sequence[Difference]) -> float | None:
    """The largest relative error of floating-point outputs; None where it is not finite."""
    error = max((each.relative for each in differences if not each.is_discrete), default=0.0)
    return error if np.isfinite(error) else None


def _time(
    runner: Runner, memory: Memory | None, inputs: Mapping[str, Array], got: Mapping[str, Array], budget: TimeBudget
) -> Timing:
    """Time the slice as the executor will run it: bound in place where that works, else handed over."""
    try:
        if memory is None:
            outputs = {name: np.empty_like(array) for name, array in got.items()}
            return time_call(runner.bind(_contiguous(inputs), outputs), budget)
        return _time_in_own_memory(runner, memory, inputs, got, budget)
    except BackendError:  # shapes or types that cannot be bound
        return time_call(lambda: _drop(runner.run(inputs)), budget)


def _drop(outputs: Mapping[str, Array]) -> None:
    """Nobody reads the outputs of a timed run."""


def _time_in_own_memory(
    runner: Runner, memory: Memory, inputs: Mapping[str, Array], got: Mapping[str, Array], budget: TimeBudget
) -> Timing:
    """Inputs and outputs stay in the device's memory; the barrier is the download of the smallest output."""
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
