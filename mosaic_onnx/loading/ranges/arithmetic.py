"""Rules of the arithmetic operators: what must hold of the operands so that the result lies in its range."""

from __future__ import annotations

import math

from mosaic_onnx.loading.ranges.site import SMALL_SIZE, Asked, Site
from mosaic_onnx.loading.ranges.value_range import INFINITY, Range, exactly, up_to


def add(site: Site) -> Asked:
    """The known operand shifts the range; of two unknown ones each gets half."""
    asked = site.output_range()
    if asked is None or asked.domain:
        return []
    for mine, other in ((0, 1), (1, 0)):
        if (ends := site.ends(other)) is not None:
            return [(site.input(mine), asked.shifted(*ends))]
    half = Range(min(0, asked.low / 2), asked.high / 2) if asked.high >= 0 else asked
    return [(site.input(0), half), (site.input(1), half)]


def sub(site: Site) -> Asked:
    """As ``add``; of two unknown integers the second is kept at zero."""
    asked = site.output_range()
    if asked is None or asked.domain:
        return []
    if (ends := site.ends(1)) is not None:
        return [(site.input(0), asked.shifted(-ends[1], -ends[0]))]
    if (ends := site.ends(0)) is not None:
        return [(site.input(1), Range(ends[1] - asked.high, ends[0] - asked.low))]
    return [(site.input(0), asked), (site.input(1), exactly(0))] if site.is_integer(0) else []


def mul(site: Site) -> Asked:
    """The known factor divides the range; of two unknown ones each stays below the root."""
    asked = site.output_range()
    if asked is None or asked.domain:
        return []
    for mine, other in ((0, 1), (1, 0)):
        if (ends := site.ends(other)) is not None:
            return [(site.input(mine), asked.divided(ends[0]).meet(asked.divided(ends[1])))]
    root = math.isqrt(int(asked.high)) if 0 <= asked.high < INFINITY else INFINITY
    return [(site.input(0), Range(0, root)), (site.input(1), Range(0, root))]


def div(site: Site) -> Asked:
    """No integer is divided by zero; a known divisor widens the range."""
    asked = site.output_range()
    divisor = site.ends(1)
    pairs: Asked = [(site.input(1), Range(1, SMALL_SIZE))] if site.is_integer(1) else []
    if asked is not None and not asked.domain and divisor is not None and divisor[0] == divisor[1] != 0:
        pairs.append((site.input(0), asked.divided(1 / divisor[0])))
    elif asked is not None and not asked.domain:
        pairs.append((site.input(0), asked))
    return pairs


def mod(site: Site) -> Asked:
    """No integer is divided by zero; a small divisor already keeps the result in its range."""
    asked, divisor = site.output_range(), site.ends(1)
    pairs: Asked = [(site.input(1), Range(1, SMALL_SIZE))] if site.is_integer(1) else []
    if asked is not None and not (divisor and divisor[1] - 1 <= asked.high):
        pairs.append((site.input(0), asked))
    return pairs


def neg(site: Site) -> Asked:
    """The range is mirrored."""
    asked = site.output_range()
    return [(site.input(0), Range(-asked.high, -asked.low))] if asked is not None and not asked.domain else []


def clip(site: Site) -> Asked:
    """Nothing is asked where the clip itself keeps to the range."""
    asked, low, high = site.output_range(), site.ends(1), site.ends(2)
    attributes = {each.name: each.f for each in site.node.attribute}
    least = low[0] if low else attributes.get("min", -INFINITY)
    most = high[1] if high else attributes.get("max", INFINITY)
    if asked is None or (asked.low <= least and most <= asked.high):
        return []
    return [(site.input(0), asked)]


def summed(count: float, site: Site) -> Asked:
    """Every one of ``count`` summands gets its share of the range."""
    asked = site.output_range()
    if asked is None or asked.domain or not count:
        return []
    return [(site.input(0), asked.divided(count))]


def reduce_sum(site: Site) -> Asked:
    """As ``summed``, over the reduced dimensions."""
    shape, axes = site.shape(0), [each.ints for each in site.node.attribute if each.name == "axes"]
    known = site.known.get(site.input(1)) if site.input(1) else None
    if shape is None:
        return summed(SMALL_SIZE, site)
    chosen = (
        list(axes[0])
        if axes
        else ([int(axis) for axis in known.reshape(-1)] if known is not None else range(len(shape)))
    )
    return summed(math.prod(shape[axis] for axis in chosen), site)


def cumsum(site: Site) -> Asked:
    """As ``summed``, over the axis: the last sum is the largest."""
    shape, axis = site.shape(0), site.ends(1)
    rank = len(shape) if shape else 1
    count = shape[int(axis[0])] if shape and axis and -rank <= axis[0] < rank else SMALL_SIZE
    return [*summed(count, site), (site.input(1), up_to(rank - 1))]
