"""A schedule's JSON form (``mosaic-onnx/schedule/1``)."""

from __future__ import annotations

from dataclasses import asdict

from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.solve import Scheduled

SCHEMA = "mosaic-onnx/schedule/1"


def schedule_to_fields(instance: Instance, scheduled: Scheduled) -> dict[str, object]:
    """Return the JSON object of a schedule (``reference: several models on one machine``, section 4).

    ``meta`` tells what the form has no key for: the policy by which devices pick among ready slices, whether devices
    are chosen while it runs, and what the baselines reach.
    """
    schedule, states = scheduled.schedule, instance.table.state_names
    names = [model.name for model in instance.models]
    meta: dict[str, object] = {"policy": schedule.policy, "late_binding": schedule.late_binding}
    if scheduled.baselines:
        meta["baselines"] = dict(scheduled.baselines)
        meta["rounds"] = scheduled.rounds
    return {
        "schema": SCHEMA,
        "scheduler": scheduled.scheduler,
        "seed": scheduled.seed,
        "period_multiplier": scheduled.multiplier,
        "bound": {"value": scheduled.bound.value, "method": scheduled.bound.method},
        "score": scheduled.score,
        "groups": [asdict(group) for group in scheduled.groups],
        "models": [
            {
                "name": name.partition("/")[2],
                "group": instance.groups[model.group].name,
                "slices": [{"layers": list(placed.layers), "state": states[placed.state]} for placed in proposal],
            }
            for name, model, proposal in zip(names, instance.models, schedule.proposals, strict=True)
        ],
        "priority": [names[model] for model in schedule.priority],
        "meta": meta,
    }
