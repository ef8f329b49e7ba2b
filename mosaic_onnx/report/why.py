"""The words and figures behind each layer, for the page's panel: JSON values, no markup."""

from __future__ import annotations

from mosaic_onnx.analysis.explain import LayerExplanation, StateCost
from mosaic_onnx.analysis.layer_moves import LayerMove
from mosaic_onnx.core.plans import Transfer
from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.headline import milliseconds


def reasons_of(content: ReportContent) -> list[dict[str, object]]:
    """Return for each layer what the page shows when it is chosen."""
    return [_layer(one) for one in content.layers]


def _layer(one: LayerExplanation) -> dict[str, object]:
    moves = {move.state: move for move in one.moves}
    return {
        "name": one.name,
        "operators": " ".join(dict.fromkeys(one.op_types)),
        "place": f"slice {one.slice_number} on {one.state}",
        "states": [_state(cost, moves.get(cost.state), one.state) for cost in one.costs],
        "transfers": [_transfer(each) for each in (*one.brought, *one.sent)],
    }


def _state(cost: StateCost, move: LayerMove | None, here: str) -> list[str]:
    """Return state, cost, and what moving the layer there would change."""
    figure = "–" if cost.seconds is None else f"{milliseconds(cost.seconds)} ({cost.source})"
    if cost.state == here:
        return [cost.state, figure, "runs here"]
    if cost.seconds is None or cost.reason:
        return [cost.state, figure, f"cannot: {cost.reason}"]
    if move is None:
        return [cost.state, figure, ""]
    if move.seconds is None:
        return [cost.state, figure, f"cannot: {move.reason}"]
    return [cost.state, figure, f"{move.seconds * 1e3:+.3g} ms if it alone moved"]


def _transfer(one: Transfer) -> str:
    seconds = one.end_s - one.start_s
    return f"{one.tensor}: {one.source} → {one.destination}, {one.bytes / 1e6:.3g} MB, {milliseconds(seconds)}"
