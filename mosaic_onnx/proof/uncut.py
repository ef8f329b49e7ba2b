"""The uncut model back out of a partitioned file: slices' functions give their nodes back, transfers fall away.

The canonical file holds every node and value of the model under its own name; so a bundle can be verified without the
file that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from mosaic_onnx.graphs import call_key, function_key, renamed_node
from mosaic_onnx.rewriting.canonical import DOMAIN, TRANSFER

_TENSOR = "mosaic.tensor"
_SLICE = "slice_"


def uncut(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model that was partitioned, up to tags; a model that is not partitioned comes back as it is.

    Args:
        model: a partitioned model; it is left as it is.
    """
    slices = {
        function_key(function): function
        for function in model.functions
        if function.domain == DOMAIN and function.name.startswith(_SLICE)
    }
    names = _original_names(model, slices)
    nodes: list[onnx.NodeProto] = []
    infos: list[onnx.ValueInfoProto] = []
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type == TRANSFER:
            continue
        function = slices.get(call_key(node))
        if function is None:
            nodes.append(renamed_node(node, names))
        else:
            nodes += [onnx.NodeProto.FromString(inner.SerializeToString()) for inner in function.node]
            infos += function.value_info
    result = onnx.ModelProto()
    result.CopyFrom(model)
    declared = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    result.graph.value_info.extend({value.name: value for value in infos if value.name not in declared}.values())
    _replace(result, nodes)
    return result


def _original_names(
    model: onnx.ModelProto, slices: Mapping[tuple[str, str, str], onnx.FunctionProto]
) -> dict[str, str]:
    """By value at a border, the tensor of the model that it is: functions name their outputs as the model did."""
    names: dict[str, str] = {}
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type == TRANSFER:
            tensor = next((entry.value for entry in node.metadata_props if entry.key == _TENSOR), node.input[0])
            names.update({node.input[0]: tensor, node.output[0]: tensor})
        elif (function := slices.get(call_key(node))) is not None:
            names.update(zip(node.output, function.output, strict=True))
    return {value: tensor for value, tensor in names.items() if value != tensor}


def _replace(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    kept = [function for function in model.functions if function.domain != DOMAIN]
    functions = [onnx.FunctionProto.FromString(function.SerializeToString()) for function in kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.functions[:]
    model.functions.extend(functions)
