"""Rules of the arithmetic operators: the ranges of the operands that keep the result in its range."""

from __future__ import annotations

import math

from mosaic_onnx.loading.ranges.node_context import SMALL_SIZE, Asked, NodeContext
from mosaic_onnx.loading.ranges.value_range import INFINITY, Range, exactly, up_to


def add(context: NodeContext) -> Asked:
    """Return the known operand shifts the range; of two unknown ones each gets half."""
    asked = context.output_range()
    if asked is None or asked.domain:
        return []
    for mine, other in ((0, 1), (1, 0)):
        if (ends := context.ends(other)) is not None:
            return [(context.input(mine), asked.shifted(*ends))]
    half = Range(min(0, asked.low / 2), asked.high / 2) if asked.high >= 0 else asked
    return [(context.input(0), half), (context.input(1), half)]


def sub(context: NodeContext) -> Asked:
    """Return ranges as ``add`` does; of two unknown integers the second is kept at zero."""
    asked = context.output_range()
    if asked is None or asked.domain:
        return []
    if (ends := context.ends(1)) is not None:
        return [(context.input(0), asked.shifted(-ends[1], -ends[0]))]
    if (ends := context.ends(0)) is not None:
        return [(context.input(1), Range(ends[1] - asked.high, ends[0] - asked.low))]
    return [(context.input(0), asked), (context.input(1), exactly(0))] if context.is_integer(0) else []


def mul(context: NodeContext) -> Asked:
    """Return the range divided by a known factor; of two unknown factors each stays below the root."""
    asked = context.output_range()
    if asked is None or asked.domain:
        return []
    for mine, other in ((0, 1), (1, 0)):
        if (ends := context.ends(other)) is not None:
            return [(context.input(mine), asked.divided(ends[0]).meet(asked.divided(ends[1])))]
    root = math.isqrt(int(asked.high)) if 0 <= asked.high < INFINITY else INFINITY
    return [(context.input(0), Range(0, root)), (context.input(1), Range(0, root))]


def div(context: NodeContext) -> Asked:
    """Return ranges that divide no integer by zero; a known divisor widens the dividend's."""
    asked = context.output_range()
    divisor = context.ends(1)
    pairs: Asked = [(context.input(1), Range(1, SMALL_SIZE))] if context.is_integer(1) else []
    if asked is not None and not asked.domain and divisor is not None and divisor[0] == divisor[1] != 0:
        pairs.append((context.input(0), asked.divided(1 / divisor[0])))
    elif asked is not None and not asked.domain:
        pairs.append((context.input(0), asked))
    return pairs


def mod(context: NodeContext) -> Asked:
    """Return ranges that divide no integer by zero; a small divisor already keeps the result in its range."""
    asked, divisor = context.output_range(), context.ends(1)
    pairs: Asked = [(context.input(1), Range(1, SMALL_SIZE))] if context.is_integer(1) else []
    if asked is not None and not (divisor and divisor[1] - 1 <= asked.high):
        pairs.append((context.input(0), asked))
    return pairs


def neg(context: NodeContext) -> Asked:
    """Return the mirrored range."""
    asked = context.output_range()
    return [(context.input(0), Range(-asked.high, -asked.low))] if asked is not None and not asked.domain else []


def clip(context: NodeContext) -> Asked:
    """Return no demand where the clip's own limits keep the range."""
    asked, low, high = context.output_range(), context.ends(1), context.ends(2)
    attributes = {each.name: each.f for each in context.node.attribute}
    least = low[0] if low else attributes.get("min", -INFINITY)
    most = high[1] if high else attributes.get("max", INFINITY)
    if asked is None or (asked.low <= least and most <= asked.high):
        return []
    return [(context.input(0), asked)]


def summed(count: float, context: NodeContext) -> Asked:
    """Return an equal share of the range for each of ``count`` summands."""
    asked = context.output_range()
    if asked is None or asked.domain or not count:
        return []
    return [(context.input(0), asked.divided(count))]


def reduce_sum(context: NodeContext) -> Asked:
    """Return ranges as ``summed`` does, over the reduced dimensions."""
    shape, axes = context.shape(0), [each.ints for each in context.node.attribute if each.name == "axes"]
    known = context.known.get(context.input(1)) if context.input(1) else None
    if shape is None:
        return summed(SMALL_SIZE, context)
    chosen = (
        list(axes[0])
        if axes
        else ([int(axis) for axis in known.reshape(-1)] if known is not None else range(len(shape)))
    )
    return summed(math.prod(shape[axis] for axis in chosen), context)


def cumsum(context: NodeContext) -> Asked:
    """Return ranges as ``summed`` does, over the axis: the last sum is the largest."""
    shape, axis = context.shape(0), context.ends(1)
    rank = len(shape) if shape else 1
    count = shape[int(axis[0])] if shape and axis and -rank <= axis[0] < rank else SMALL_SIZE
    return [*summed(count, context), (context.input(1), up_to(rank - 1))]
