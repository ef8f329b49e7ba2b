"""Measure in turn how many requests a second whole plans take, as sessions that pipeline requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.profiling.interleaved import InterleavedTimings
from mosaic_onnx.profiling.whole_plans.child import ProgramChild
from mosaic_onnx.profiling.whole_plans.in_child import measured_in_child
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
    if machine.isolates(list(plans.values())):

        def measure(child: ProgramChild, numbers: Mapping[str, int]) -> InterleavedTimings:
            return child.rates(numbers, effort.round_count, effort.seconds)

        return measured_in_child(plans, machine, inputs, outputs, ProgramChild.open_session, measure)
    failed: dict[str, str] = {}
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
