"""A Band-like baseline (MobiSys 2022): slices by device support, placed on line, least slack first."""

from __future__ import annotations

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.scenarios.configurations import unit_options
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule


def band(instance: Instance) -> Schedule:
    """Cut each model where the set of devices that can run it changes; place slices when they are ready.

    Raises:
        InfeasibleError: no device can run some layer.
    """
    proposals = tuple(supported_slices(model.table, instance.unit_of_state) for model in instance.models)
    return Schedule(proposals, tuple(range(len(proposals))), "least-slack", late_binding=True)


def supported_slices(table: CostTable, unit_of_state: tuple[int, ...]) -> Proposal:
    """Return runs of the list of layers that the same devices support, each in its fastest state alone.

    Layers of one group stay in one run, since their device is chosen for all of them.

    Raises:
        InfeasibleError: no device can run some layer or group.
    """
    support = [frozenset(s for s, seconds in enumerate(row) if seconds < float("inf")) for row in table.rows.layer_s]
    runs: list[list[int]] = []
    group_run: dict[int, int] = {}
    for layer, states in enumerate(support):
        if not runs or support[runs[-1][-1]] != states:
            runs.append([])
        runs[-1].append(layer)
        group = table.rows.group[layer]
        if group >= 0 and group_run.setdefault(group, len(runs) - 1) != len(runs) - 1:
            first = group_run[group]
            runs[first:] = [[one for run in runs[first:] for one in run]]
            group_run = {g: min(run, first) for g, run in group_run.items()}
    return tuple(placed for run in runs for placed in _held(table, tuple(run), unit_of_state))


def _held(table: CostTable, layers: tuple[int, ...], unit_of_state: tuple[int, ...]) -> list[PlacedSlice]:
    """Return the layers as one slice, or as halves where no device can hold them together."""
    ways = unit_options(table, layers, unit_of_state)
    if ways:
        return [PlacedSlice(layers, min(ways, key=lambda way: way.seconds).state)]
    if len(layers) == 1:
        raise InfeasibleError(f"no device can run layer {table.layer_names[layers[0]]}")
    middle = len(layers) // 2
    return [*_held(table, layers[:middle], unit_of_state), *_held(table, layers[middle:], unit_of_state)]
