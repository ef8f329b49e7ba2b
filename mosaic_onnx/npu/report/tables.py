"""Tables of a map: every layer, the best mapping against each fixed dataflow, what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.npu.search.dataflow import best_dataflow
from mosaic_onnx.npu.search.fixed import FIXED

if TYPE_CHECKING:
    from mosaic_onnx.files.cache import Cache
    from mosaic_onnx.npu.costs.evaluate import Objective
    from mosaic_onnx.npu.layers.nest import ModelLayers, NpuLayer
    from mosaic_onnx.npu.model_map import ModelMap
    from mosaic_onnx.npu.search.fusion import Fusion

UNITS = {"latency": "cycles", "energy": "J", "edp": "J·cycles"}


def map_table(found: ModelMap) -> Table:
    """Return one row a layer: cost, utilisation, what limits it, how it runs."""
    columns = ("layer", "MACs", "cycles", "bound", "mJ", "used", "limited by", "array", "kept", "tiles", "gap")
    made = _table(f"{found.model} on {found.hardware.name} (emulated)", columns)
    for layer in found.layers:
        fields = layer.as_fields()
        gap = fields["certificate"]["gap"]
        tiles = fields["tiles"] or {}
        made.add_row(
            escape(fields["name"]),
            f"{fields['macs']:,}",
            f"{fields['cycles']:,}",
            f"{fields['bound_cycles']:,}",
            f"{fields['joules'] * 1e3:.4g}",
            f"{fields['utilisation']:.0%}",
            fields["limited_by"],
            fields["spatial"] or "vector unit",
            fields["stationary"] or "–",
            " ".join(f"{loop}{size}" for loop, size in tiles.items() if size > 1) or "–",
            "–" if gap is None else f"{gap:.1%}",
        )
    made.caption = f"{found.cycles:,} cycles, {found.joules * 1e3:.4g} mJ; gap: distance from the proved bound"
    return made


def comparison_table(layers: ModelLayers, found: ModelMap, objective: Objective, cache: Cache | None) -> Table:
    """Return the map's mappings against each fixed dataflow with its best tiles; ratios to the map's figure."""
    made = _table(f"against fixed dataflows, {objective}", ("layer", UNITS[objective], *FIXED))
    seen: set[str] = set()
    by_name = {layer.name: layer for layer in layers.layers}
    for mapped in found.layers:
        layer = by_name[mapped.result.layer.name]
        key = str(layer.key())
        if mapped.result.mapping is None or key in seen:
            continue
        seen.add(key)
        own = mapped.result.cost.value(objective)
        cells = [_ratio(layer, found, name, objective, own, cache) for name in FIXED]
        made.add_row(escape(layer.name), f"{own:.6g}", *cells)
    made.caption = "equal layers once; –: the array cannot run it"
    return made


def _ratio(layer: NpuLayer, found: ModelMap, name: str, objective: Objective, own: float, cache: Cache | None) -> str:
    try:
        fixed = best_dataflow(layer, found.hardware, objective, name, cache)
    except (UsageError, InfeasibleError):
        return "–"
    return f"{fixed.cost.value(objective) / own:.3f}"


def fusion_table(layers: ModelLayers, fused: Fusion, objective: Objective) -> Table:
    """Return the groups that run depth-first, and what fusion changes of the sum."""
    made = _table(f"layers run depth-first, {objective}", ("layers", "tiles", "weights", "cycles", "mJ", "DRAM bytes"))
    for group in fused.groups:
        if group.tiling is None:
            continue
        names = " + ".join(layers.layers[at].name for at in group.layers)
        weights = "stay" if group.tiling.weights_stay else "each tile"
        cost = group.cost
        figures = f"{cost.cycles:,.0f}", f"{cost.joules * 1e3:.4g}", f"{cost.dram_bytes:,.0f}"
        made.add_row(escape(names), str(group.tiling.tile_count), weights, *figures)
    change = fused.fused / fused.alone - 1 if fused.alone else 0.0
    made.caption = f"{UNITS[objective]}: {fused.alone:.6g} alone, {fused.fused:.6g} fused ({change:+.1%})"
    return made


def fusion_fields(layers: ModelLayers, fused: Fusion) -> dict[str, object]:
    """Return the groups as JSON."""
    groups = [
        {
            "layers": [layers.layers[at].name for at in group.layers],
            "tile_count": group.tiling.tile_count,
            "weights_stay": group.tiling.weights_stay,
            **vars(group.cost),
        }
        for group in fused.groups
        if group.tiling is not None
    ]
    return {
        "groups": groups,
        "alone": fused.alone,
        "fused": fused.fused,
        "certificate": fused.certificate.as_fields(),
    }


def refused_table(found: ModelMap) -> Table:
    """Return what another device must run, and why."""
    made = _table(f"not for {found.hardware.name}", ("node", "operator", "why"))
    for each in found.refused:
        made.add_row(escape(each.name), escape(each.operator), escape(each.reason))
    return made


def _table(title: str, columns: tuple[str, ...]) -> Table:
    made = Table(title=escape(title), title_justify="left")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return made
