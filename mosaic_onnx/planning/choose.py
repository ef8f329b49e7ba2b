"""Choose the candidate to deliver: by the clock where it says something, else by the simulator's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mosaic_onnx.backends.base import Array, CostSource
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.planning.candidates import PLAN, Candidate
from mosaic_onnx.planning.contest import Contest, Effort, contest, contest_by_prediction
from mosaic_onnx.planning.throughput_contest import contest_by_rate


def choose(
    candidates: Sequence[Candidate],
    selection: Selection,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    effort: Effort | None = None,
    refused: Mapping[str, str] | None = None,
    plan_wanted: str = "",
) -> Contest:
    """Return which candidate is delivered.

    Args:
        candidates: the plan (``PLAN``) and the single devices.
        selection: devices that take part.
        inputs: the model's inputs.
        outputs: the names of the model's outputs.
        effort: how long to measure.
        refused: candidates that may not be delivered, with the reason.
        plan_wanted: why the plan is delivered whatever is measured; empty where it is not.

    Raises:
        BackendError: no candidate runs.
    """
    plan = next((one.plan for one in candidates if one.name == PLAN), candidates[0].plan)
    is_timed_here = all(
        not one.host and not isinstance(selection.backends.get(one.backend), CostSource) for one in selection.chosen
    )
    if not is_timed_here or plan.objective not in ("latency", "throughput"):
        found = contest_by_prediction([one for one in candidates if not one.is_yardstick], refused)
    else:
        if plan_wanted and effort is not None:
            effort = replace(effort, one_each=False)
        by_clock = contest if plan.objective == "latency" else contest_by_rate
        found = by_clock(candidates, selection.by_name, selection.backends, inputs, outputs, effort, refused)
    if plan_wanted and PLAN not in found.failed:
        return replace(found, winner=PLAN, reason=f"do-no-harm is off: {plan_wanted} ({found.reason})")
    return found
