"""Tables of explanations of plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mosaic_onnx.cli.tables import MANY, megabytes, milliseconds, table

if TYPE_CHECKING:
    from rich.table import Table

    from mosaic_onnx.analysis.explain import LayerExplanation, PlanExplanation
    from mosaic_onnx.analysis.plan_diff import PlanDiff


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
