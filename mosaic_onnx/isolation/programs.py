"""Whole plans in a child process: loaded there slice by slice on all their devices, run and timed there.

A plan's time is what its slices take in one process, as it will be when it is delivered; a call to another process for
each slice would be counted as the slice's. Whose fault a crash is, is read from what the child was doing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from mosaic_onnx.backends.base import Array, Backend, SliceModel
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.files.plan_file import plan_to_json
from mosaic_onnx.isolation.backend import IsolatedBackend, address_of
from mosaic_onnx.isolation.messages import device_to_json, write_slice, write_tensors
from mosaic_onnx.isolation.process import ChildDied, ChildProcess
from mosaic_onnx.profiling.interleaved import InterleavedTimings, measure_interleaved
from mosaic_onnx.runtime.executor import Executor, open_program
from mosaic_onnx.runtime.trace import Span, Trace

Json = Any
_ACTIONS = "mosaic_onnx.isolation.program_actions"
LIMIT_S = 120.0
"""Loading a plan, and its first run, may each take so long."""


@dataclass(frozen=True)
class PlanToRun:
    """A plan and its slices."""

    plan: Plan
    slices: Sequence[SliceModel]

    @property
    def devices(self) -> set[str]:
        """Names of the devices that it uses."""
        return {device_of(one.state) for one in self.plan.slices}


@dataclass(frozen=True)
class Machine:
    """Where plans run: devices and backends by name."""

    devices: Mapping[str, Device]
    backends: Mapping[str, Backend]

    def isolates(self, plans: Sequence[PlanToRun]) -> bool:
        """Tell whether a device of the plans must not run in this process."""
        return any(self._is_isolated(self.devices[name]) for plan in plans for name in plan.devices)

    def _is_isolated(self, device: Device) -> bool:
        backend = self.backends.get(device.backend)
        return isinstance(backend, IsolatedBackend) and backend.isolates(device)

    def addresses(self) -> dict[str, str]:
        """Where a child finds each backend."""
        found = {}
        for name, backend in self.backends.items():
            address = backend.address if isinstance(backend, IsolatedBackend) else address_of(backend)
            if address is not None:
                found[name] = address
        return found


@dataclass(frozen=True)
class TimedPlans:
    """What timing some plans gave.

    Attributes:
        timings: interleaved figures of those that ran; None where none did.
        failed: why the others did not, by name.
    """

    timings: InterleavedTimings | None
    failed: Mapping[str, str] = field(default_factory=dict)


class ProgramChild:
    """A child that holds loaded plans; the context ends it."""

    def __init__(self, machine: Machine, inputs: Mapping[str, Array], outputs: Sequence[str]) -> None:
        """Prepare.

        Args:
            machine: where the plans run.
            inputs: the model's inputs.
            outputs: names of the model's outputs.
        """
        self._machine = machine
        self._child = ChildProcess("the plan's devices", machine.addresses())
        self._inputs = write_tensors(inputs, self._child.files / "inputs")
        self._names = {"inputs": list(inputs), "outputs": list(outputs)}
        self._files = itertools.count()

    def open(self, one: PlanToRun) -> int:
        """Load a plan and run it once; its number.

        Raises:
            BackendError: it cannot be loaded or run.
            DeviceDied: a device took the child with it.
        """
        used = [device_to_json(self._machine.devices[name]) for name in sorted(one.devices)]
        slices = [write_slice(each, self._child.files / f"{next(self._files)}.onnx") for each in one.slices]
        request = {"plan": plan_to_json(one.plan), "slices": slices, "devices": used, **self._names}
        number = int(
            self._ask("open", request, LIMIT_S, f"to load a plan on {', '.join(sorted(one.devices))}")["number"]
        )
        self._ask("first_run", {"number": number, "tensors": self._inputs}, LIMIT_S, "to run a plan for the first time")
        return number

    def time(self, numbers: Mapping[str, int], round_count: int, budget_s: float) -> InterleavedTimings:
        """Time loaded plans in turn, by name; errors as for ``open``."""
        request = {"numbers": dict(numbers), "round_count": round_count, "budget_s": budget_s, "tensors": self._inputs}
        answer = self._ask("time", request, LIMIT_S + 10 * budget_s, "to time plans")
        seconds = {name: tuple(map(float, values)) for name, values in answer["seconds"].items()}
        return InterleavedTimings(seconds, int(answer["repeat_count"]))

    def traces(self, number: int, seconds: float, min_runs: int, max_runs: int) -> list[Trace]:
        """Run a loaded plan and watch its slices; errors as for ``open``."""
        request = {"number": number, "seconds": seconds, "min_runs": min_runs, "max_runs": max_runs}
        answer = self._ask("traces", {**request, "tensors": self._inputs}, LIMIT_S + 10 * seconds, "to run a plan")
        return [Trace(tuple(Span(**span) for span in one["spans"]), one["seconds"]) for one in answer["traces"]]

    def _ask(self, action: str, request: Mapping[str, Json], limit_s: float, doing: str) -> dict[str, Json]:
        try:
            answer = self._child.ask(f"{_ACTIONS}:{action}", request, limit_s, doing)
        except ChildDied as died:
            device = "" if died.mark is None else died.mark.device
            words = f"device {device} {died.reason}" if device else f"the process of the plan {died.reason}"
            raise DeviceDied(words, device) from died
        if "failure" in answer:
            raise BackendError(str(answer["failure"]), str(answer.get("hint", "")))
        return answer

    def close(self) -> None:
        """End the child; calling it twice is harmless."""
        self._child.close()

    def __enter__(self) -> ProgramChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DeviceDied(BackendError):
    """A device took its process with it.

    Attributes:
        device: its name; empty where nobody knows which.
    """

    def __init__(self, message: str, device: str) -> None:
        super().__init__(message)
        self.device = device


def time_plans(
    plans: Mapping[str, PlanToRun],
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    round_count: int,
    budget_s: float,
) -> TimedPlans:
    """Load plans and time them in turn; one whose device fails is left out, and the others are timed without it.

    Args:
        plans: by name.
        machine: where they run.
        inputs: the model's inputs.
        outputs: names of the model's outputs.
        round_count: rounds that are wanted.
        budget_s: no round starts after it, but three always run.
    """
    if not machine.isolates(list(plans.values())):
        return _time_here(plans, machine, inputs, outputs, round_count, budget_s)
    left, failed = dict(plans), dict[str, str]()
    while left:
        numbers: dict[str, int] = {}
        name = ""
        try:
            with ProgramChild(machine, inputs, outputs) as child:
                for name, one in left.items():
                    try:
                        numbers[name] = child.open(one)
                    except DeviceDied:
                        raise
                    except BackendError as error:
                        failed[name] = error.message
                left = {each: one for each, one in left.items() if each in numbers}
                name = ""
                return TimedPlans(child.time(numbers, round_count, budget_s) if numbers else None, failed)
        except DeviceDied as died:
            words = died.message
            guilty = [each for each, one in left.items() if each == name or died.device in one.devices]
        except BackendError as error:  # a plan ran once, and does not any more: whose fault it is stands in the message
            words = error.message
            guilty = [each for each, one in left.items() if any(device in words for device in one.devices)]
        for each in guilty or list(left):
            failed[each] = words
            del left[each]
    return TimedPlans(None, failed)


def _time_here(
    plans: Mapping[str, PlanToRun],
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    round_count: int,
    budget_s: float,
) -> TimedPlans:
    failed: dict[str, str] = {}
    running: dict[str, Executor] = {}
    with ExitStack() as stack:
        for name, one in plans.items():
            try:
                names = {"inputs": tuple(inputs), "outputs": tuple(outputs)}
                program = open_program(one.slices, one.plan, machine.devices, machine.backends, **names)
                stack.callback(program.close)
                program.run(inputs)
                running[name] = program
            except BackendError as error:
                failed[name] = error.message
        if not running:
            return TimedPlans(None, failed)
        calls = {name: (lambda program=program: program.run(inputs)) for name, program in running.items()}
        return TimedPlans(measure_interleaved(calls, round_count=round_count, budget_s=budget_s), failed)


def trace_plan(
    one: PlanToRun,
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    seconds: float,
    min_runs: int,
    max_runs: int,
) -> list[Trace]:
    """Load a plan, run it once, and watch its slices in the runs that follow.

    Args:
        one: the plan.
        machine: where it runs.
        inputs: the model's inputs.
        outputs: names of the model's outputs.
        seconds: no run starts after it, but ``min_runs`` do.
        min_runs: at least so many.
        max_runs: at most so many.

    Raises:
        BackendError: it does not run.
    """
    if machine.isolates([one]):
        with ProgramChild(machine, inputs, outputs) as child:
            return child.traces(child.open(one), seconds, min_runs, max_runs)
    from mosaic_onnx.isolation.program_actions import watch

    names = {"inputs": tuple(inputs), "outputs": tuple(outputs)}
    with open_program(one.slices, one.plan, machine.devices, machine.backends, **names) as program:
        program.run(inputs)
        return watch(program, inputs, seconds, min_runs, max_runs)
