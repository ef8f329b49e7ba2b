"""Half precision at the cuts: the original model with the same roundings as its slices, so that bits can be compared.

ONNX Runtime's CPU provider keeps float32 between some float16 nodes, depending on their neighbours. A tensor that
leaves a slice is rounded to float16, and is a graph input of the next slice. So in the model made here every reader in
another slice reads a graph input too, which is fed with the original model's tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.graph.graphs import free_name, reads, renamed_node, writes

HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


@dataclass(frozen=True)
class FedAtCuts:
    """The whole model, with its half-precision cut tensors read from inputs.

    Attributes:
        model: a copy; every value keeps its name.
        feeds: by cut tensor, the name of the input that its readers in other slices read.
    """

    model: onnx.ModelProto
    feeds: Mapping[str, str]


def fed_at_cuts(model: onnx.ModelProto, slices: Sequence[SliceModel]) -> FedAtCuts | None:
    """Return the model with such inputs; None where no half-precision tensor is cut.

    Args:
        model: topologically sorted, types inferred.
        slices: its slices.
    """
    slice_of = {
        name: index for index, one in enumerate(slices) for node in one.model.graph.node for name in writes(node)
    }
    halves = _half_tensors(model)
    crossing = [
        {name for name in one.inputs if name in halves and slice_of.get(name, index) != index}
        for index, one in enumerate(slices)
    ]
    cut = set().union(*crossing)
    if not cut:
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    feeds = _new_names(copy.graph, cut)
    nodes = []
    for node in model.graph.node:
        index = next((slice_of[name] for name in writes(node) if name in slice_of), None)
        nodes.append(renamed_node(node, {name: feeds[name] for name in crossing[index]} if index is not None else {}))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    for name, fed in feeds.items():
        copy.graph.input.add(name=fed, type=halves[name])
    return FedAtCuts(copy, feeds)


def _half_tensors(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    graph = model.graph
    return {
        value.name: value.type
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type in HALVES
    }


def _new_names(graph: onnx.GraphProto, names: set[str]) -> dict[str, str]:
    taken = {name for node in graph.node for name in (*node.output, *reads(node))}
    return {name: free_name(f"{name}/fed", taken) for name in sorted(names)}
