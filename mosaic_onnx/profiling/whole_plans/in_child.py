"""Measure plans together in a child process; after the death of a device, those without it in another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import DeviceError
from mosaic_onnx.profiling.interleaved import InterleavedTimings
from mosaic_onnx.profiling.whole_plans.child import DeviceDied, ProgramChild
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, TimedPlans


def measured_in_child(
    plans: Mapping[str, PlanToRun],
    machine: Machine,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    load: Callable[[ProgramChild, PlanToRun], int],
    measure: Callable[[ProgramChild, Mapping[str, int]], InterleavedTimings],
) -> TimedPlans:
    """Load plans in a child and measure them there; one whose device fails is left out.

    Args:
        plans: by name.
        machine: where they run.
        inputs: the model's inputs.
        outputs: names of the model's outputs.
        load: loads a plan, runs it once, and returns its number.
        measure: measures the plans of these numbers, by name.
    """
    left, failed = dict(plans), dict[str, str]()
    while left:
        numbers: dict[str, int] = {}
        loading = ""
        try:
            with ProgramChild(machine, inputs, outputs) as child:
                for loading, one in left.items():
                    try:
                        numbers[loading] = load(child, one)
                    except DeviceDied:
                        raise
                    except DeviceError as error:
                        failed[loading] = error.message
                left = {name: one for name, one in left.items() if name in numbers}
                loading = ""
                return TimedPlans(measure(child, numbers) if numbers else None, failed)
        except DeviceError as error:  # one of those that ran once may have failed now
            words = error.message
            guilty = [name for name, one in left.items() if name == loading or error.device in one.devices]
        for name in guilty or list(left):
            failed[name] = words
            del left[name]
    return TimedPlans(None, failed)
