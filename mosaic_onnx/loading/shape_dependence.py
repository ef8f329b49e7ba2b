"""Values whose shapes depend on the values of the inputs, not only on their shapes.

A shape seen in a trial run is reliable only for values that are not among them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from mosaic_onnx.core.graph.graphs import FunctionKey, call_key, every_node, function_key, reads, subgraphs, writes

_SHAPED_BY: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "OneHot", "TopK", "Squeeze", "Unsqueeze", "Split", "CenterCropPad"), (1,)),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"), (1,)),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "AffineGrid", "Upsample"), (1,)),
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("Col2Im", "Tile", "DFT"), (1, 2)),
    "MelWeightMatrix": (0, 1),
    "Range": (0, 1, 2),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "MaxUnpool": (2,),
    "STFT": (1, 3),
    "If": (0,),
    "Loop": (0, 1),
}
"""Inputs whose values determine the output's shape, by operator."""

_COUNTED = frozenset({"NonZero", "NonMaxSuppression", "Unique", "Compress", "ImageDecoder", "StringSplit"})
"""Operators whose output's shape depends on their data."""

_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def changing_functions(functions: Sequence[onnx.FunctionProto]) -> frozenset[FunctionKey]:
    """Return the functions whose outputs' shapes depend on their inputs' values; calls must be acyclic."""
    found: frozenset[FunctionKey] = frozenset()
    while True:
        again = frozenset(
            function_key(each)
            for each in functions
            if not changing_shapes(each.node, each.input, (), found).isdisjoint(each.output)
        )
        if again == found:
            return found
        found = again


def changing_shapes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Collection[str],
    fixed: Collection[str],
    functions: Collection[FunctionKey] = (),
) -> set[str]:
    """Return the values whose shapes may change between runs with the same input shapes.

    Args:
        nodes: in topological order.
        inputs: the model's inputs, whose values change.
        fixed: values whose shape is known without running.
        functions: model-local functions whose outputs' shapes depend on values (``changing_functions``).
    """
    values, shapes = set(inputs), set[str]()
    for node in nodes:
        read = list(reads(node))
        by_values, by_shapes = any(name in values for name in read), any(name in shapes for name in read)
        if node.op_type in ("Shape", "Size"):
            # Ranks are constant, so the length of a shape is.
            changes, makes_values = False, by_shapes
        else:
            changes = by_shapes or _shape_follows_values(node, values, by_values, functions)
            makes_values = by_values or by_shapes or node.op_type in _RANDOM
        for name in writes(node):
            if changes and name not in fixed:
                shapes.add(name)
            if makes_values:
                values.add(name)
    return shapes


def _shape_follows_values(
    node: onnx.NodeProto, values: set[str], by_values: bool, functions: Collection[FunctionKey]
) -> bool:
    """Return whether changing the values that the node reads may change the shapes of its outputs."""
    if not by_values:
        return False
    if node.op_type in _COUNTED or call_key(node) in functions:
        return True
    deciding = [node.input[at] for at in _SHAPED_BY.get(node.op_type, ()) if at < len(node.input)]
    if any(name in values for name in deciding):
        return True
    # A loop may also end early, by the condition that its body computes.
    inner = [each.op_type for graph in subgraphs(node) for each in every_node(graph.node)]
    return node.op_type == "Loop" or any(kind in _COUNTED or kind == "Loop" for kind in inner)
