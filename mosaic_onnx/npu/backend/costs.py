"""Costs of the compiler's layers on an NPU in one of its dataflows, from the exact search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import onnx

from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.graph.graphs import node_keys
from mosaic_onnx.core.graph.layer_facts import LayerFacts, whole_model_facts
from mosaic_onnx.core.profiles import Cost
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.model import ValueFacts, layers_of_part, value_facts
from mosaic_onnx.npu.layers.nest import NpuLayer
from mosaic_onnx.npu.search.dataflow import BEST, best_dataflow

_NO_SHAPES = "its shapes are not known, and the NPU's costs depend on them"


@dataclass(frozen=True)
class NpuPart:
    """A layer of the compiler as an NPU sees it, whatever the NPU's sizes.

    Attributes:
        operators: what it runs, one after the other; what fuses is one of them.
        refusal: why it cannot run the layer; empty where it can.
        weight_count: weights that it holds; of densified depthwise kernels with their zeros.
        output_count: elements of the tensors that it hands on.
    """

    operators: tuple[NpuLayer, ...] = ()
    refusal: str = ""
    weight_count: int = 0
    output_count: int = 0


def parts_of(facts: Sequence[LayerFacts], hardware: Hardware) -> tuple[NpuPart, ...]:
    """Return each layer of the compiler as the NPU sees it; only the hardware's operators matter, not its sizes."""
    known: tuple[onnx.GraphProto, ValueFacts] | None = None
    found = []
    for one in facts:
        if one.graph is None:
            found.append(NpuPart(refusal=_NO_SHAPES))
            continue
        if known is None or known[0] is not one.graph:
            known = one.graph, value_facts(one.graph)
        found.append(_part_of(one, known[1], hardware))
    return tuple(found)


def _part_of(facts: LayerFacts, values: ValueFacts, hardware: Hardware) -> NpuPart:
    layers, refused = layers_of_part(facts.nodes, facts.outputs, values, hardware)
    if refused:
        return NpuPart(refusal=f"{refused[0].operator} ({refused[0].name}): {refused[0].reason}")
    is_dense = hardware.operators.depthwise == "densified"
    return NpuPart(
        operators=layers,
        weight_count=facts.dense_parameter_count if is_dense else facts.parameter_count,
        output_count=sum(prod(values.shapes[name]) for name in facts.outputs if name in values.shapes),
    )


class LayerCosts:
    """The costs of layers on one NPU in one dataflow; equal operators are searched once, and kept in the cache."""

    def __init__(self, hardware: Hardware, dataflow: str, objective: Objective, cache: Cache | None) -> None:
        """Take the NPU, the dataflow (a fixed one or ``best``), the mappings' objective and where mappings are kept."""
        self.hardware = hardware
        self.dataflow = dataflow
        self.objective = objective
        self.cache = cache
        self._known: dict[str, tuple[float, float] | str] = {}

    def of(self, part: NpuPart) -> Cost | str:
        """Return the cost of a layer of the compiler, or the reason why the NPU cannot run it."""
        if part.refusal:
            return part.refusal
        total_s = total_j = 0.0
        for operator in part.operators:
            found = self._operator(operator)
            if isinstance(found, str):
                return found
            total_s, total_j = total_s + found[0], total_j + found[1]
        size = self.hardware.precision
        return Cost(
            seconds=total_s,
            joules=total_j,
            parameter_bytes=part.weight_count * size.weight_bytes,
            activation_bytes=part.output_count * size.activation_bytes,
            source="simulated",
        )

    def _operator(self, layer: NpuLayer) -> tuple[float, float] | str:
        """Return seconds and joules of an operator with what fuses behind it, or why no mapping runs it."""
        key = str(layer.key())
        if key not in self._known:
            self._known[key] = self._search(layer)
        return self._known[key]

    def _search(self, layer: NpuLayer) -> tuple[float, float] | str:
        hardware = self.hardware
        try:
            found = best_dataflow(layer, hardware, self.objective, self.dataflow, self.cache)
        except (InfeasibleError, UsageError) as error:
            return error.message
        seconds, joules = found.cost.cycles / hardware.clock_hz, found.cost.joules
        if self.dataflow == BEST and found.mapping is not None:
            seconds += hardware.reconfiguration_s  # a mapping of its own: the array is configured for each layer
            joules += hardware.reconfiguration_s * hardware.energy.static_w
        return seconds, joules


def slice_cost(model: onnx.ModelProto, costs: LayerCosts) -> Cost | str:
    """Return the cost of a slice taken as one layer, or the reason why the NPU cannot run it.

    Args:
        model: the slice; shapes that it does not state are inferred.
        costs: of the NPU in the slice's dataflow.
    """
    if not model.graph.value_info and model.graph.node:
        model = onnx.shape_inference.infer_shapes(model)
    nodes = tuple(zip(node_keys(model.graph), model.graph.node, strict=True))
    outputs = tuple(value.name for value in model.graph.output)
    facts = replace(whole_model_facts(model), nodes=nodes, outputs=outputs, graph=model.graph)
    return costs.of(parts_of([facts], costs.hardware)[0])
