"""Tables of explanations of plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mosaic_onnx.cli.views.tables import MANY, megabytes, milliseconds, table
from mosaic_onnx.files.plan_file import plan_to_fields

if TYPE_CHECKING:
    from rich.table import Table

    from mosaic_onnx.analysis.compare_changes import Supposed
    from mosaic_onnx.analysis.explain import LayerExplanation, PlanExplanation
    from mosaic_onnx.analysis.plan_diff import PlanDiff
    from mosaic_onnx.cli.console import Reporter
    from mosaic_onnx.core.plans import Objective


def layer_tables(one: LayerExplanation) -> list[Table]:
    """Return tables of a layer's cost in each state, the effect of moving it, and its transfers."""
    moves = {move.state: move for move in one.moves}
    rows = []
    for cost in one.costs:
        move = moves.get(cost.state)
        change = "runs here" if cost.state == one.state else milliseconds(None if move is None else move.seconds)
        why = cost.reason or (move.reason if move is not None else "")
        rows.append((cost.state, milliseconds(cost.seconds), cost.source, change, why))
    transfers = [
        (transfer.tensor, transfer.source, transfer.destination, megabytes(transfer.bytes))
        for transfer in (*one.brought, *one.sent)
    ]
    return [
        table(
            f"layer {one.name} ({' '.join(one.op_types)})", ("state", "cost", "source", "moving it", "why not"), rows
        ),
        table("transfers that it causes", ("tensor", "from", "to", "size"), transfers),
    ]


def plan_tables(whole: PlanExplanation) -> list[Table]:
    """Return tables of each device's busy time, the boundaries, and the savings if a device had an operator."""
    busy = [(name, milliseconds(seconds)) for name, seconds in whole.busy_s.items()]
    boundaries = [
        (
            _end(boundary.source, boundary.source_state),
            _end(boundary.destination, boundary.destination_state),
            str(len(boundary.tensors)),
            megabytes(boundary.bytes),
            milliseconds(boundary.seconds),
            milliseconds(boundary.without) if boundary.reason == "" else boundary.reason,
        )
        for boundary in whole.boundaries
    ]
    lifts = [
        (
            f"if {lift.device} ran {lift.operator}",
            milliseconds(lift.seconds),
            str(len(lift.layers)),
            lift.assumed,
        )
        for lift in whole.lifts
    ]
    columns = ("from", "to", "tensors", "size", "copies", "change without it")
    return [
        table("busy", ("device", "time"), busy),
        table("boundaries", columns, boundaries, most=MANY),
        table("if a device ran what it refuses", ("", "change", "layers", "assumed"), lifts, most=MANY),
    ]


def _end(slice_number: int | None, state: str) -> str:
    return state if slice_number is None else f"{slice_number} ({state})"


def diff_tables(found: PlanDiff) -> list[Table]:
    """Return tables of the layers that moved and the settings that differ."""
    moved = [(layer.name, layer.before, layer.after) for layer in found.moved]
    before, after = found.slices
    settings = [(word, old, new) for word, (old, new) in found.settings.items()]
    settings.append(("slices", str(before), str(after)))
    tables = [table("otherwise", ("", "before", "after"), settings)]
    if moved and found.is_elsewhere:
        tables.insert(0, table("layers that moved, by state", ("before", "after", "layers"), _by_states(found)))
    elif moved:
        tables.insert(0, table("layers that moved", ("layer", "before", "after"), moved, most=MANY))
    return tables


def _by_states(found: PlanDiff) -> list[tuple[str, str, str]]:
    """Return how many layers went from which state to which."""
    counts: dict[tuple[str, str], int] = {}
    for layer in found.moved:
        counts[layer.before, layer.after] = counts.get((layer.before, layer.after), 0) + 1
    return [(before, after, str(count)) for (before, after), count in counts.items()]


def show_what_ifs(reporter: Reporter, found: Sequence[Supposed], objective: Objective) -> None:
    """Show the plans of supposed machines in one table, and emit them as one object."""
    reporter.show(what_if_table(found, objective))
    for one in found:
        figure = "no plan" if one.plan is None else milliseconds(one.plan.predicted.seconds)
        change = "" if one.change is None or not one.word else f" ({one.change:+.1%})"
        reporter.result(f"{one.word or 'as it is'}: {figure}{change}")
    fields = [
        {
            "change": one.word,
            "plan": None if one.plan is None else plan_to_fields(one.plan),
            "same_slices": one.same_slices,
            "relative_change": one.change,
            "assumed": one.assumed,
        }
        for one in found
    ]
    reporter.emit("mosaic-onnx/what-if/1", {"objective": objective, "machines": fields})


def what_if_table(found: Sequence[Supposed], objective: Objective) -> Table:
    """Return a table of the plans: the machine as it is, then each supposed one."""
    rows = []
    for one in found:
        name = one.word or "as it is"
        if one.plan is None:
            rows.append((name, "no plan", "–", "–", "–", "–", one.assumed))
            continue
        figures = one.plan.predicted
        joules = "–" if figures.joules is None else f"{figures.joules * 1e3:.4g} mJ"
        change = "–" if one.change is None or not one.word else f"{one.change:+.1%}"
        # Without planning anew: what the change brings to the plan as it is.
        same = "–" if one.same_slices is None or not one.word else _amount(one.same_slices, objective)
        rows.append((name, milliseconds(figures.seconds), joules, change, same, str(len(one.plan.slices)), one.assumed))
    columns = ("machine", "time", "energy", f"change of {objective}", "with today's slices", "slices", "assumed")
    return table("what if", columns, rows)


def _amount(figure: float, objective: Objective) -> str:
    """Return an objective's value with its unit."""
    if objective in ("latency", "throughput"):
        return milliseconds(figure)
    return f"{figure * 1e3:.4g} mJ" + (" s" if objective == "edp" else "")
