"""Changes that let strict readers accept what runtimes accept, on copies that never leave the child process."""

from __future__ import annotations

import onnx

from mosaic_onnx.core.graph.graphs import domain_of, every_node, initializer_names, put_in_order
from mosaic_onnx.loading.checks import RUNTIME_DOMAINS

_RUNTIME_OPERATORS = frozenset(
    {"Affine", "Crop", "DynamicSlice", "GivenTensorFill", "ImageScaler", "ParametricSoftplus", "Scale", "ScaledTanh"}
    | {"LayerNormalization", "SimplifiedLayerNormalization"}
)
"""ONNX Runtime's operators in ONNX's own domain that no operator set has (or only a later one)."""


def mend_for_checker(model: onnx.ModelProto, orderly: bool) -> bool:
    """Change what the checker refuses though runtimes accept it; return whether anything changed.

    Nodes out of order, graph outputs of unknown rank or type, value infos without a type, initialisers of an old model
    that are no inputs of it, and ONNX Runtime's own domains and operators without an import: all of them occur in real
    exports.
    """
    if not orderly:
        put_in_order(model)
    mended = [not orderly, _mend_values(model.graph), _mend_initialisers(model), mend_operators(model)]
    return any(mended)


def _mend_initialisers(model: onnx.ModelProto) -> bool:
    """Raise the IR version to the first in which an initialiser need not be an input, where one is none."""
    if model.ir_version >= 4 or initializer_names(model.graph) <= {value.name for value in model.graph.input}:
        return False
    model.ir_version = 4
    return True


def _mend_values(graph: onnx.GraphProto) -> bool:
    """Add the type fields that the checker requires to graph values; drop value infos without a type."""
    mended = False
    for value in graph.output:
        if not value.type.WhichOneof("value"):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
            mended = True
    typed = [value for value in graph.value_info if value.type.WhichOneof("value")]
    if len(typed) < len(graph.value_info):
        kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in typed]
        del graph.value_info[:]
        graph.value_info.extend(kept)
        mended = True
    return mended


def mend_operators(model: onnx.ModelProto) -> bool:
    """Move ONNX Runtime's own operators into its domain and import it where used; return whether anything changed."""
    versions = {domain_of(entry.domain): entry.version for entry in model.opset_import}
    needed: set[str] = set()
    mended = False
    for node in every_node(model.graph.node):
        domain = domain_of(node.domain)
        if domain in RUNTIME_DOMAINS:
            needed.add(domain)
        elif node.op_type in _RUNTIME_OPERATORS and not onnx.defs.has(node.op_type, versions.get("", 1), domain):
            node.domain, mended = "com.microsoft", True
            needed.add("com.microsoft")
    for domain in sorted(needed - set(versions)):
        model.opset_import.add(domain=domain, version=1)
        mended = True
    return mended
