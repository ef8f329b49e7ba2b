"""Baselines that keep every model whole as far as its device can run it."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule


def npu_only(instance: Instance) -> Schedule:
    """Place each model on the accelerator; what it cannot run falls back by forced cuts; first come first served.

    Raises:
        InfeasibleError: some model cannot run.
    """
    device = accelerator(instance)
    proposals = tuple(preferred_slices(model.table, device) for model in instance.models)
    return Schedule(proposals, tuple(range(len(proposals))), "fifo")


def best_mapping(instance: Instance) -> Schedule:
    """Place each model whole on the device with its lowest latency alone; first come first served.

    A model that no device runs whole goes to the device that it is fastest on with forced cuts.

    Raises:
        InfeasibleError: some model cannot run.
    """
    proposals = tuple(best_single_device(model.table)[0] for model in instance.models)
    return Schedule(proposals, tuple(range(len(proposals))), "fifo")


def accelerator(instance: Instance) -> int:
    """Return the scenario's accelerator, or the device with the least total time over all layers that it runs.

    A device that runs no layer is none. Of a device's levels the fastest counts.
    """
    if instance.scenario.accelerator is not None:
        return instance.table.device_names.index(instance.scenario.accelerator)
    totals = np.zeros(len(instance.table.device_names))
    counts = np.zeros(len(totals))
    for model in instance.models:
        for device in range(len(totals)):
            seconds = model.table.layer_s[:, model.table.state_device == device].min(axis=1)
            totals[device] += seconds[np.isfinite(seconds)].sum()
            counts[device] += np.isfinite(seconds).sum()
    return int(np.argmin(np.where(counts > 0, totals, np.inf)))


def best_single_device(table: CostTable) -> tuple[Proposal, float]:
    """Return the slices of a model on the device that runs it fastest, and its latency alone in seconds.

    Raises:
        InfeasibleError: the model cannot run.
    """
    found: list[tuple[bool, float, Proposal]] = []
    refusal: InfeasibleError | None = None
    for device in range(len(table.device_names)):
        try:
            proposal = preferred_slices(table, device)
        except InfeasibleError as error:
            refusal = error
            continue
        devices = {table.rows.state_device[placed.state] for placed in proposal}
        found.append((len(devices) > 1, simulate(table, proposal, "concurrent").seconds, proposal))
    if not found:
        raise refusal or InfeasibleError("no device can run the model")
    _, seconds, proposal = min(found, key=lambda one: one[:2])
    return proposal, seconds


def preferred_slices(table: CostTable, device: int) -> Proposal:
    """Return all that a device can hold on it, the rest on the others, those that run the whole model fastest first.

    Raises:
        InfeasibleError: no device can hold some layer.
    """
    totals = [table.layer_s[:, table.state_device == d].min(axis=1).sum() for d in range(len(table.device_names))]
    others = sorted((d for d in range(len(totals)) if d != device), key=lambda d: (totals[d], d))
    words = ",".join(table.device_names[d] for d in (device, *others))
    return solve(table, Request(method=f"preferred:{words}")).proposal
