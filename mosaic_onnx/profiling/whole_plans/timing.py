"""Time whole plans in turn, or slice by slice, wherever they have to run.

A plan's time is what its slices take in one process, as it will be when it is delivered; a call to another process for
each slice would be counted as the slice's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.profiling.whole_plans.child import ProgramChild
from mosaic_onnx.profiling.whole_plans.in_child import measured_in_child
from mosaic_onnx.profiling.whole_plans.loaded_plans import measured, run_repeatedly, watch
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, Rounds, TimedPlans, WatchEffort
from mosaic_onnx.runtime.executor import Executor, open_program
from mosaic_onnx.runtime.trace import Trace


def time_plans(
    plans: Mapping[str, PlanToRun],
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    rounds: Rounds,
) -> TimedPlans:
    """Load plans and time them in turn; one whose device fails is left out, and the others are timed without it.

    Args:
        plans: by name.
        machine: where they run.
        inputs: the model's inputs.
        outputs: names of the model's outputs.
        rounds: how long.
    """
    if not machine.isolates(list(plans.values())):
        return _time_here(plans, machine, inputs, outputs, rounds)
    return measured_in_child(
        plans, machine, inputs, outputs, ProgramChild.open, lambda child, numbers: child.time(numbers, rounds)
    )


def _time_here(
    plans: Mapping[str, PlanToRun],
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    rounds: Rounds,
) -> TimedPlans:
    failed: dict[str, str] = {}
    running: dict[str, Executor] = {}
    with ExitStack() as stack:
        for name, one in plans.items():
            try:
                names = {"inputs": tuple(inputs), "outputs": tuple(outputs)}
                devices = {**machine.devices, **one.overrides}
                program = open_program(one.slices, one.plan, devices, machine.backends, **names)
                stack.callback(program.close)
                program.run(inputs)
                running[name] = program
            except BackendError as error:
                failed[name] = error.message
        if not running:
            return TimedPlans(None, failed)
        calls = {name: (lambda program=program: program.run(inputs)) for name, program in running.items()}
        return TimedPlans(measured(calls, rounds), failed)


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
    names = {"inputs": tuple(inputs), "outputs": tuple(outputs)}
    with open_program(one.slices, one.plan, machine.devices, machine.backends, **names) as program:
        program.run(inputs)
        return watch(program, inputs, seconds, min_runs, max_runs)


def time_one_plan(
    one: PlanToRun, machine: Machine, inputs: Mapping[str, Array], outputs: Sequence[str], effort: WatchEffort
) -> tuple[tuple[float, ...], tuple[Trace, ...]]:
    """Return the seconds of each timed run of a plan, and the traces of watched ones.

    Args:
        one: the plan.
        machine: where it runs.
        inputs: the model's inputs.
        outputs: names of the model's outputs.
        effort: how often to run.

    Raises:
        BackendError: it does not run; the message names the device.
    """
    if machine.isolates([one]):
        with ProgramChild(machine, inputs, outputs) as child:
            number = child.open(one)
            seconds = child.repeat(number, effort.warmup_count, effort.timed_count)
            return seconds, tuple(child.traces(number, 0.0, effort.watched_count, effort.watched_count))
    names = {"inputs": tuple(inputs), "outputs": tuple(outputs)}
    with open_program(one.slices, one.plan, machine.devices, machine.backends, **names) as program:
        seconds = run_repeatedly(program, inputs, effort.warmup_count, effort.timed_count)
        return seconds, tuple(watch(program, inputs, 0.0, effort.watched_count, effort.watched_count))
