"""The groups of nodes that runtimes fuse; they are merged only where layers stay convex."""

from __future__ import annotations

import math

from mosaic_onnx.core.graph.graphs import writes
from mosaic_onnx.layering.groups import Groups
from mosaic_onnx.layering.view import GraphView

_QUANTIZE = frozenset({"QuantizeLinear"})
_DEQUANTIZE = frozenset({"DequantizeLinear"})
_INTEGER_PRODUCTS = frozenset({"MatMulInteger", "ConvInteger"})
_PRODUCTS = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "MatMulNBits", "FusedConv"}
    | {"DeformConv", "FusedMatMul", *_INTEGER_PRODUCTS}
)
"""Operators that runtimes fuse with the elementwise operators after them."""
_ACTIVATIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu"}
    | {"ThresholdedRelu", "Softplus", "Softsign", "Mish", "Swish", "QuickGelu"}
)
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
_RESIDUAL = frozenset({"Add", "Sum"})
_ELEMENTWISE = frozenset(
    _ARITHMETIC
    | _ACTIVATIONS
    | {"Sqrt", "Pow", "Exp", "Erf", "Reciprocal", "Neg", "Abs", "Cast", "Max", "Min", "Identity", "Square", "Log"}
)
_REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax"})
_GATED = frozenset(_ARITHMETIC | _ACTIVATIONS)
"""Operators of gated activations (swish, hard swish, mish); Gelu and norms stay layers of their own, because
devices that take a convolution often do not take Erf or Pow."""
_SHAPE_ARITHMETIC = frozenset(
    _ARITHMETIC
    | {"Shape", "Size", "Gather", "Unsqueeze", "Squeeze", "Concat", "Cast", "Slice", "Identity", "Reshape", "Where"}
    | {"ReduceProd", "Floor", "Ceil", "Min", "Max", "Equal", "ConstantOfShape", "Range", "Neg", "Mod", "Expand"}
)
_SMALL_COUNT = 64
_REGION_COUNT = 16
_RANDOM = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"})


def merge_fusion_groups(view: GraphView, groups: Groups) -> None:
    """Merge every fusion group of the graph; each step visits every node once.

    Gated activations are merged before the convolutions that they are fused with.
    """
    _merge_constant_parts(view, groups)
    regions = _merge_regions(view, groups)
    _merge_after_products(view, groups, regions)
    _merge_dynamic_quantisation(view, groups)
    _merge_quantisation(view, groups)
    _merge_shape_arithmetic(view, groups)


def _merge_constant_parts(view: GraphView, groups: Groups) -> None:
    """Merge nodes that work on weights only with the one reader of their outputs."""
    for position, node in enumerate(view.nodes):
        root = groups.find(position)
        if view.read[position] and not groups.sources[root]:
            continue  # reads the model's inputs
        if groups.sources[root] or node.op_type in _RANDOM or not view.parameters[position]:
            continue
        reader = groups.only_reader(position)
        if reader is not None and not any(name in view.outputs for name in writes(node)):
            groups.merge_if_safe(position, reader)


def _merge_regions(view: GraphView, groups: Groups) -> dict[int, bool]:
    """Merge elementwise regions that branch from one value and join again: swish, Gelu, layer norm, softmax.

    Returns:
        For each merged group, whether it is a gated activation that a product may be fused with.
    """
    regions = {join: found for join in range(len(view.nodes)) if (found := _region(view, join))}
    for join, region in regions.items():
        for member in sorted(region - {join}, reverse=True):
            groups.merge_if_safe(member, join)
    gated: dict[int, bool] = {}
    for join, region in regions.items():
        root = groups.find(join)
        gated[root] = gated.get(root, True) and all(view.operator(member) in _GATED for member in region)
    _join_regions(view, groups, gated)
    return gated


def _region(view: GraphView, join: int) -> set[int]:
    """Return the nodes between one value and the node where its branches join; empty where there is none."""
    if view.operator(join) not in _ARITHMETIC or len(view.read[join]) != 2:
        return set()
    region = {join}
    outside = set(view.read[join])
    while len(outside) > 1:
        if len(region) > _REGION_COUNT:
            return set()
        latest = max(outside, key=lambda name: view.maker.get(name, -1))
        maker = view.maker.get(latest)
        if maker is None or not view.is_only_read_by(latest, region) or len(writes(view.nodes[maker])) > 1:
            return set()
        if view.operator(maker) not in _ELEMENTWISE and view.operator(maker) not in _REDUCTIONS:
            return set()
        region.add(maker)
        outside.discard(latest)
        outside.update(view.read[maker])
    return region if len(region) > 1 and outside else set()


def _join_regions(view: GraphView, groups: Groups, gated: dict[int, bool]) -> None:
    """Merge regions in a row (mean and centring, then the rest of a norm) with the scale and shift after them."""
    for start in sorted(gated, key=lambda root: max(groups.members[root])):
        root = groups.find(start)
        while not gated[root] and not _feeds_outputs(view, groups, root):
            reader = groups.only_reader(root)
            if reader is None:
                break
            members = groups.members[reader]
            if not (reader in gated or (len(members) == 1 and _is_tail(view, members[0]))):
                break
            del gated[root]
            gated.pop(reader, None)
            groups.merge_if_safe(root, reader)
            root = groups.find(root)
            gated[root] = False


def _is_tail(view: GraphView, position: int) -> bool:
    """Return whether a node is arithmetic with weights, or an elementwise operator of one value."""
    return view.operator(position) in _ELEMENTWISE and len(view.read[position]) == 1


def _feeds_outputs(view: GraphView, groups: Groups, root: int) -> bool:
    """Return whether the group produces an output of the model."""
    return any(name in view.outputs for member in groups.members[root] for name in writes(view.nodes[member]))


def _merge_after_products(view: GraphView, groups: Groups, regions: dict[int, bool]) -> None:
    """Merge each convolution or matrix product with its batch norm, bias, activation, and one residual sum."""
    for position in range(len(view.nodes)):
        if view.operator(position) in _PRODUCTS:
            _extend_product(view, groups, position, regions)


def _extend_product(view: GraphView, groups: Groups, position: int, regions: dict[int, bool]) -> None:
    """Extend a group by its only reader while runtimes fuse that; nothing after an activation is fused."""
    summed = activated = False
    root = groups.find(position)
    while (reader := groups.only_reader(root)) is not None and not _feeds_outputs(view, groups, root):
        fed = _fed_from_outside(view, groups, reader)
        if regions.get(reader) and not activated:
            activated = True
        elif len(fed) != 1 or activated:
            return
        else:
            ((member, count),) = fed.items()
            kind = view.operator(member)
            if kind in _ACTIVATIONS:
                activated = True
            elif kind in _RESIDUAL and count == 2:
                if summed:
                    return
                summed = True
            elif not (kind in ("BatchNormalization", "Cast") or (kind in _ARITHMETIC and count == 1)):
                return
        if not groups.merge_if_safe(root, reader):
            return
        root = groups.find(root)


def _fed_from_outside(view: GraphView, groups: Groups, root: int) -> dict[int, int]:
    """Return {node: number of values read from other groups}; a group's other nodes work on weights only."""
    members = set(groups.members[root])
    counts = {each: sum(view.maker.get(name) not in members for name in view.read[each]) for each in sorted(members)}
    return {each: count for each, count in counts.items() if count}


def _merge_dynamic_quantisation(view: GraphView, groups: Groups) -> None:
    """Merge DynamicQuantizeLinear, its integer product, and the product of their scales: one operator written out."""
    for position in range(len(view.nodes)):
        if view.operator(position) not in _INTEGER_PRODUCTS:
            continue
        root = groups.find(position)
        reader = groups.only_reader(root)
        if reader is not None and view.operator(min(groups.members[reader])) in ("Cast", "Mul"):
            groups.merge_if_safe(root, reader)
            root = groups.find(root)
            reader = groups.only_reader(root)
            if reader is not None and view.operator(min(groups.members[reader])) == "Mul":
                groups.merge_if_safe(root, reader)
        for source in sorted(groups.sources[groups.find(position)]):
            if view.operator(max(groups.members[source])) == "Mul" and len(groups.members[source]) == 1:
                groups.merge_if_safe(source, position)
    for position in range(len(view.nodes)):
        if view.operator(position) == "DynamicQuantizeLinear":
            reader = groups.first_reader(position)
            if reader is not None:
                groups.merge_if_safe(position, reader)


def _merge_quantisation(view: GraphView, groups: Groups) -> None:
    """Merge quantisation with the operator before it, and dequantisation with the one after it."""
    alone = [position for position in range(len(view.nodes)) if len(groups.members[groups.find(position)]) == 1]
    for position in reversed(alone):
        if view.operator(position) in _DEQUANTIZE:
            _merge_dequantisation(groups, position)
    for position in alone:
        if view.operator(position) not in _QUANTIZE:
            continue
        source = groups.only_source(position)
        if source is not None:
            groups.merge_if_safe(source, position)
        elif (reader := groups.only_reader(position)) is not None:
            groups.merge_if_safe(position, reader)  # at the model's input no operator comes before it


def _merge_dequantisation(groups: Groups, position: int) -> None:
    """Merge dequantisation with the operator after it; where several share it, with the first of them."""
    reader = groups.first_reader(position)
    if reader is not None:
        groups.merge_if_safe(position, reader)


def _merge_shape_arithmetic(view: GraphView, groups: Groups) -> None:
    """Merge small integer computations on shapes with each other, apart from operators on data."""
    small = {position for position in range(len(view.nodes)) if _is_shape_arithmetic(view, position)}
    roots = {groups.find(position) for position in small if len(groups.members[groups.find(position)]) == 1}
    for position in sorted(small):
        root = groups.find(position)
        if root not in roots:
            continue
        for source in sorted(groups.sources[root]):
            if source in roots and groups.merge_if_safe(source, root):
                merged = groups.find(root)
                roots -= {source, root}
                roots.add(merged)
                root = merged


def _is_shape_arithmetic(view: GraphView, position: int) -> bool:
    """Return whether a node computes a few integers with operators that shape computations consist of."""
    if view.operator(position) not in _SHAPE_ARITHMETIC:
        return False
    for name in writes(view.nodes[position]):
        info = view.tensors.get(name)
        if info is None or info.shape is None or info.element_type not in (6, 7, 9) or name in view.outputs:
            return False
        if math.prod(info.shape) > _SMALL_COUNT:
            return False
    return True
