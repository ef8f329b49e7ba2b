"""One layer on one hardware in one dataflow: searched once, then kept in the cache by operator and hardware."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Any

from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.costs.evaluate import Cost, Objective, evaluate
from mosaic_onnx.npu.costs.mapping import Mapping, mapping_from_fields
from mosaic_onnx.npu.costs.vector_unit import vector_cost, vector_depthwise_cost
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest, NpuLayer, VectorWork
from mosaic_onnx.npu.search.certificate import Certificate, certificate_from_fields
from mosaic_onnx.npu.search.exact import best_mapping
from mosaic_onnx.npu.search.fixed import FIXED, restriction_of
from mosaic_onnx.npu.search.genetic import genetic_mapping

BEST, GENETIC, VECTOR = "best", "genetic", "vector"
DATAFLOWS = (BEST, *FIXED, GENETIC)
"""The dataflows that a layer can be run in, by the names that the command line takes."""
COST_MODEL = 3
"""Raised whenever a formula changes: what the cache holds of older ones is not found any more."""


@dataclass(frozen=True)
class Result:
    """A layer on an NPU.

    Attributes:
        layer: what was asked for.
        dataflow: in which it runs; ``vector`` for what does not run on the array.
        cost: analytical.
        mapping: None for vector work.
        certificate: of the search; vector work has one point.
    """

    layer: NpuLayer
    dataflow: str
    cost: Cost
    mapping: Mapping | None
    certificate: Certificate


def best_dataflow(
    layer: NpuLayer,
    hardware: Hardware,
    objective: Objective = "latency",
    dataflow: str = BEST,
    cache: Cache | None = None,
    seed: int = 0,
) -> Result:
    """Return a layer in the best dataflow, or in a fixed one with its best tiles.

    Args:
        layer: a loop nest or vector work.
        hardware: the NPU.
        objective: what is made least.
        dataflow: ``best`` (exact), a fixed one's name, or ``genetic``.
        cache: where results are kept; None searches anew.
        seed: of the genetic search.

    Raises:
        UsageError: no dataflow has this name, or the array cannot unroll its loops.
        InfeasibleError: not even the smallest tile fits the buffer.
    """
    if isinstance(layer, VectorWork):
        return _single(layer, vector_cost(layer, hardware))
    nest = layer
    if layer.is_depthwise:
        if hardware.operators.depthwise == "vector":
            return _single(layer, vector_depthwise_cost(layer, hardware))
        if hardware.operators.depthwise == "densified":
            nest = layer.densified()
    key = _key(nest, hardware, objective, dataflow, seed)
    kept = None if cache is None else cache.lookup(key)
    if kept is not None:
        mapping, certificate = mapping_from_fields(kept["mapping"]), certificate_from_fields(kept["certificate"])
        return Result(layer, dataflow, evaluate(nest, hardware, mapping), mapping, certificate)
    if dataflow == GENETIC:
        found = genetic_mapping(nest, hardware, objective, seed)
    else:
        restriction = None if dataflow == BEST else restriction_of(dataflow, nest, hardware)
        found = best_mapping(nest, hardware, objective, restriction)
    if cache is not None:
        cache.store(key, {"mapping": found.mapping.as_fields(), "certificate": found.certificate.as_fields()})
    return Result(layer, dataflow, found.cost, found.mapping, found.certificate)


def nest_on(layer: LoopNest, hardware: Hardware) -> LoopNest:
    """Return the nest that the hardware's array runs: a densified depthwise convolution is a dense one."""
    is_densified = layer.is_depthwise and hardware.operators.depthwise == "densified"
    return layer.densified() if is_densified else layer


def _single(layer: NpuLayer, cost: Cost) -> Result:
    """Return a layer that can be run in one way only."""
    return Result(layer, VECTOR, cost, None, Certificate(1, {}, None, 0.0))


def _key(nest: LoopNest, hardware: Hardware, objective: Objective, dataflow: str, seed: int) -> Table[str, Any]:
    """Return what decides a search's answer, as JSON: names, link and area are no part of it."""
    plain = dataclasses.asdict(hardware)
    for other in ("name", "summary", "link", "area", "reconfiguration_s", "slice_bytes"):
        del plain[other]
    return {
        "what": "npu mapping",
        "model": COST_MODEL,
        "hardware": _jsonable(plain),
        "nest": _jsonable(nest.key()),
        "objective": objective,
        "dataflow": dataflow,
        "seed": seed if dataflow == GENETIC else 0,
    }


def _jsonable(value: Any) -> Any:
    """Return tuples as lists, as they come back from a file."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, list | tuple) else value
