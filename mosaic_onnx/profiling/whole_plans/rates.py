"""Measure in turn how many requests a second whole plans take, as sessions that pipeline requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import BackendError, DeviceError
from mosaic_onnx.profiling.whole_plans.child import DeviceDied, ProgramChild
from mosaic_onnx.profiling.whole_plans.loaded_plans import rates_in_turn, session_of
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, RateEffort, TimedPlans
from mosaic_onnx.runtime.session import Session


def measure_rates(
    plans: Mapping[str, PlanToRun],
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    effort: RateEffort,
) -> TimedPlans:
    """Load plans as sessions and measure them in turn; one whose device fails is left out.

    Args:
        plans: by name.
        machine: where they run.
        inputs: of every request.
        outputs: names of the model's outputs.
        effort: how long to measure.

    Returns:
        Timings whose seconds are the time over the number of requests answered in it.
    """
    failed: dict[str, str] = {}
    if machine.isolates(list(plans.values())):
        return _in_child(plans, machine, inputs, outputs, effort, failed)
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for name, one in plans.items():
            try:
                sessions[name] = stack.enter_context(session_of(one, machine, inputs, outputs))
                sessions[name].run(inputs)
            except BackendError as error:
                failed[name] = error.message
        timings = rates_in_turn(sessions, inputs, effort) if sessions else None
    return TimedPlans(timings, failed)


def _in_child(
    plans: Mapping[str, PlanToRun],
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    effort: RateEffort,
    failed: dict[str, str],
) -> TimedPlans:
    """Measure in a child process; after the death of a device, the plans without it in another one."""
    left = dict(plans)
    while left:
        try:
            with ProgramChild(machine, inputs, outputs) as child:
                numbers: dict[str, int] = {}
                for name, one in left.items():
                    try:
                        numbers[name] = child.open_session(one)
                    except DeviceDied as died:
                        failed[name] = died.message
                        raise
                    except DeviceError as error:
                        failed[name] = error.message
                return TimedPlans(child.rates(numbers, effort.round_count, effort.seconds) if numbers else None, failed)
        except DeviceError as error:
            lost = [name for name, one in left.items() if name in failed or error.device in one.devices] or list(left)
            failed.update({name: failed.get(name, error.message) for name in lost})
            left = {name: one for name, one in left.items() if name not in failed}
    return TimedPlans(None, failed)
