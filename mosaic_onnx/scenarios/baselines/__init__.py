"""Schedulers of others, for comparison: each turns a scenario with costs into a schedule.

``whole`` (NPU Only, Best Mapping), ``own_plans`` (MOSAIC each, EDF), ``band`` (Band-like, on line).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mosaic_onnx.scenarios.baselines.band import band
from mosaic_onnx.scenarios.baselines.own_plans import edf, mosaic_each
from mosaic_onnx.scenarios.baselines.whole import best_mapping, npu_only
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule

BASELINES: Mapping[str, Callable[[Instance], Schedule]] = {
    "npu-only": npu_only,
    "best-mapping": best_mapping,
    "mosaic-each": mosaic_each,
    "band": band,
    "edf": edf,
}
"""By the name that ``--scheduler`` takes."""
