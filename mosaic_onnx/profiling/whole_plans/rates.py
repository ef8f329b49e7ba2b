"""Measure in turn how many requests a second whole plans take, as sessions that pipeline requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import BackendError, DeviceError
from mosaic_onnx.core.graph.signature import TensorSpec
from mosaic_onnx.profiling.interleaved import InterleavedTimings
from mosaic_onnx.profiling.whole_plans.child import DeviceDied, Machine, PlanToRun, ProgramChild
from mosaic_onnx.profiling.whole_plans.timing import TimedPlans
from mosaic_onnx.runtime.plan_session import open_session
from mosaic_onnx.runtime.request_rates import rate_at_load
from mosaic_onnx.runtime.session import Session


@dataclass(frozen=True)
class RateEffort:
    """The limits of the measurement.

    Attributes:
        round_count: rounds; in each, every plan is measured once.
        seconds: of one measurement.
    """

    round_count: int
    seconds: float


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


def session_of(one: PlanToRun, machine: Machine, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Session:
    """Load a plan as a session.

    Raises:
        BackendError: a slice cannot be loaded.
    """
    specs = tuple(TensorSpec(name, "", array.shape) for name, array in inputs.items())
    made = tuple(TensorSpec(name, "") for name in outputs)
    return open_session(one.slices, one.plan, {**machine.devices, **one.overrides}, machine.backends, specs, made)


def rates_in_turn(
    sessions: Mapping[str, Session], inputs: Mapping[str, Array], effort: RateEffort
) -> InterleavedTimings:
    """Keep each session as busy as it can be, in turn; seconds a request, a figure a round."""
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for name in sessions:  # the first requests find caches cold
        rate_at_load(sessions[name], inputs, 2 * sessions[name].in_flight_limit, effort.seconds / 4)
    names = list(sessions)
    for number in range(effort.round_count):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            session = sessions[name]
            rate = rate_at_load(session, inputs, 2 * session.in_flight_limit, effort.seconds)
            seconds[name].append(1 / rate.requests_per_second)
    return InterleavedTimings({name: tuple(values) for name, values in seconds.items()}, 1)


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
