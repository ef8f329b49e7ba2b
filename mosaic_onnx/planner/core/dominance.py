"""Dominated levels: where only time counts, a level that is nowhere better than another one is left out.

Usually the highest level is left alone, and a table of 29 states becomes one of four. Nothing is lost: in any plan the
device's slices move to the level that is left, which takes no longer, needs no more memory, and switches no more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.core.request import Request


def top_levels(table: CostTable, request: Request) -> tuple[CostTable, tuple[int, ...]]:
    """Return the table with the states that matter, and their indices in the given one.

    Energy wanted, direct copies between states and measured slices are left to the whole table; so are methods asked
    for by name, since a governor picks levels that no planner would.
    """
    states = tuple(range(len(table.state_names)))
    seconds_only = request.objective in ("latency", "throughput") and request.budget_j is None and not request.pareto
    seconds_only = seconds_only and request.method == "auto"
    # Where transfers wait for one another, first come, first served, or devices slow each other, faster layers may end
    # later.
    waiting = table.copies_occupy_device or table.link_names or table.slowdown is not None
    seconds_only = seconds_only and not (waiting and request.schedule == "concurrent")
    if not seconds_only or table.direct_s or table.segments or len(states) == len(table.device_names):
        return table, states
    kept = tuple(sorted(state for device in range(len(table.device_names)) for state in _left(table, device)))
    return (table, states) if len(kept) == len(states) else (_with_states(table, kept), kept)


def _left(table: CostTable, device: int) -> list[int]:
    """Return the states of one device that are needed: one that beats all others if there is one, else all."""
    states = np.flatnonzero(table.state_device == device)
    kinds: list[Floats | Ints] = [table.layer_s, table.parameter_bytes, table.workspace_bytes, table.activation_bytes]
    kinds += [table.to_host_s, table.from_host_s, *([] if table.layer_error is None else [table.layer_error])]
    for top in states[::-1].tolist():
        if all(_never_more(kind, top, states) for kind in kinds):
            return [top]
    return [int(state) for state in states]


def _never_more(costs: Floats | Ints, top: int, states: Ints) -> bool:
    """Return whether a column is nowhere above those of the states."""
    return bool((costs[:, [top]] <= costs[:, states]).all())


def _with_states(table: CostTable, kept: tuple[int, ...]) -> CostTable:
    at = list(kept)
    place = {state: number for number, state in enumerate(kept)}
    switches = {
        (place[a], place[b]): costs for (a, b), costs in table.layer_switches.items() if a in place and b in place
    }
    return replace(
        table,
        state_names=tuple(table.state_names[state] for state in kept),
        state_device=table.state_device[at],
        layer_s=table.layer_s[:, at],
        layer_j=None if table.layer_j is None else table.layer_j[:, at],
        parameter_bytes=table.parameter_bytes[:, at],
        workspace_bytes=table.workspace_bytes[:, at],
        activation_bytes=table.activation_bytes[:, at],
        to_host_s=table.to_host_s[:, at],
        to_host_j=table.to_host_j[:, at],
        from_host_s=table.from_host_s[:, at],
        from_host_j=table.from_host_j[:, at],
        switch_s=table.switch_s[np.ix_(at, at)],
        switch_j=table.switch_j[np.ix_(at, at)],
        layer_switches=switches,
        layer_error=None if table.layer_error is None else table.layer_error[:, at],
    )
