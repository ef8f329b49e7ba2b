"""Measure how much longer a device's slices take while another device works, pair by pair."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.passes.state import State
from mosaic_onnx.planning.candidates import single_device_plan
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.runtime.executor import Executor, open_program
from mosaic_onnx.scenarios.instance import unit_of

_ROUNDS = 9
_LEAST_FACTOR = 1.02
"""Less is within the noise of the measurement, and counts as no slow-down."""


def measure_slowdowns(state: State) -> dict[str, dict[str, float]]:
    """Measure the slow-downs of all pairs of devices that can run a model whole.

    Each runs the whole model again and again on a thread of its own; alone and beside each other, in turn. Devices of
    one unit never work at once and are left out, and so are simulated ones.

    Args:
        state: of the model that is run, after profiling.

    Returns:
        By device, by other device, the factor, from ``_LEAST_FACTOR`` on.
    """
    devices = [device for device in state.selection.chosen if not device.simulated]
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        programs = {device.name: _whole(state, device.name, stack) for device in devices}
        for device in devices:
            for other in devices:
                one, two = programs[device.name], programs[other.name]
                if unit_of(device) == unit_of(other) or one is None or two is None:
                    continue
                factor = _factor(lambda one=one: one.run(state.inputs), lambda two=two: two.run(state.inputs))  # type: ignore[misc]
                if factor >= _LEAST_FACTOR:
                    found.setdefault(device.name, {})[other.name] = factor
    return found


def _whole(state: State, device: str, stack: ExitStack) -> Executor | None:
    """Return the whole model on one device; None where it cannot run there."""
    table = cost_table(state.profile)
    plan = single_device_plan(state.profile, device, plan_profile(state.profile, table=table), table)
    if plan is None:
        return None
    state = state.with_cutter()
    try:
        program = open_program(
            state.cutter(state.profile, plan)[1],
            plan,
            state.selection.by_name,
            state.selection.backends,
            inputs=tuple(state.inputs),
            outputs=state.outputs,
        )
        program.run(state.inputs)
    except MosaicError:
        return None
    stack.callback(program.close)
    return program


def _factor(work: Callable[[], object], disturb: Callable[[], object]) -> float:
    """Return the median of runs beside the disturbance over the median of runs alone, taken in turn."""
    alone, beside = [], []
    for _ in range(_ROUNDS):
        alone.append(_seconds(work))
        stopped = threading.Event()
        begun = threading.Event()

        def loop(stopped: threading.Event = stopped, begun: threading.Event = begun) -> None:
            while not stopped.is_set():
                begun.set()
                disturb()

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        begun.wait()
        beside.append(_seconds(work))
        stopped.set()
        thread.join()
    return median(beside) / median(alone)


def _seconds(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s
