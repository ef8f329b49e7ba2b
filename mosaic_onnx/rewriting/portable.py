"""The canonical file for runtimes that are older than its tags: as low an IR version as its content allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto

from mosaic_onnx.core.graph.graphs import every_node, subgraphs

FUNCTIONS_IR, ATTRIBUTE_DEFAULTS_IR, OVERLOADS_IR, DEVICES_IR = 8, 9, 10, 11
"""IR versions that brought functions; their attributes' defaults; overloads; device configurations."""
_TYPES_IR = {
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 9),
    **dict.fromkeys(("UINT4", "INT4"), 10),
    "FLOAT4E2M1": 11,
    "FLOAT8E8M0": 12,
    **dict.fromkeys(("UINT2", "INT2"), 13),
}
"""IR versions that brought element types; those that are absent are older than functions."""
TESTED_RUNTIME = (1, 18)
"""The oldest ONNX Runtime that exported files are tested with."""
_RUNTIME_OF_IR = {8: (1, 10), 9: (1, 15), 10: (1, 18), 11: (1, 23)}
_RUNTIME_OF_OPSET = {
    15: (1, 10),
    16: (1, 11),
    17: (1, 12),
    18: (1, 14),
    19: (1, 15),
    20: (1, 17),
    21: (1, 18),
    22: (1, 21),
    23: (1, 23),
}
"""ONNX Runtime versions that brought IR versions and opsets (its compatibility table; 1.23 where that says nothing)."""


def without_tags(model: onnx.ModelProto, ir_version: int) -> onnx.ModelProto:
    """Return the model without what only tells where slices run, at the lowest IR version that can carry the rest.

    Slices stay functions, and transfers keep their source and destination. Metadata of nodes and types of values inside
    functions go where the IR version does not know them.

    Args:
        model: canonical; left as it is.
        ir_version: of the model that was partitioned.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ClearField("configuration")
    nodes = [*every_node(copy.graph.node), *(node for function in copy.functions for node in every_node(function.node))]
    for node in nodes:
        node.ClearField("device_configurations")
    copy.ir_version = max(ir_version, needed_ir_version(copy))
    if copy.ir_version < OVERLOADS_IR:
        for node in nodes:
            node.ClearField("metadata_props")
        for function in copy.functions:
            function.ClearField("value_info")
            function.ClearField("metadata_props")
    return copy


def needed_ir_version(model: onnx.ModelProto) -> int:
    """Return the lowest IR version that knows what the model cannot do without."""
    needed = [FUNCTIONS_IR if model.functions else 4]
    for function in model.functions:
        needed += [ATTRIBUTE_DEFAULTS_IR] * bool(function.attribute_proto) + [OVERLOADS_IR] * bool(function.overload)
    needed += [_TYPES_IR.get(TensorProto.DataType.Name(number), 4) for number in _element_types(model)]
    return max(needed)


def least_runtime(model: onnx.ModelProto) -> str:
    """Return the oldest ONNX Runtime that may be expected to run a file of this IR version and opset, such as ``1.18``.

    Nothing older than what is tested is promised; operators of other domains may need more.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    newest = max(_RUNTIME_OF_IR.values())
    versions = [TESTED_RUNTIME]
    versions.append(_RUNTIME_OF_IR.get(max(model.ir_version, 8), newest))
    versions.append(_RUNTIME_OF_OPSET.get(max(opset, 15), newest))
    return ".".join(map(str, max(versions)))


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    functions: Iterable[onnx.NodeProto] = (node for function in model.functions for node in function.node)
    for node in every_node([*model.graph.node, *functions]):
        yield from subgraphs(node)


def _element_types(model: onnx.ModelProto) -> set[int]:
    """Element types of weights and declared values."""
    types: set[int] = set()
    for graph in _graphs(model):
        types |= {tensor.data_type for tensor in graph.initializer}
        types |= {tensor.values.data_type for tensor in graph.sparse_initializer}
        types |= {
            value.type.tensor_type.elem_type
            for value in (*graph.input, *graph.output, *graph.value_info)
            if value.type.HasField("tensor_type")
        }
    return types
