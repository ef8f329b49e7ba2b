"""Uneven DRAM traffic of a layer: its second visit, its end, and each new start of an inner loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mosaic_onnx.npu.costs.mapping import PIXELS, TILED
from mosaic_onnx.npu.costs.tiling import Floats, Ints, Tilings, visit_count
from mosaic_onnx.npu.costs.traffic import last_store, relevant_loops
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest


@dataclass(frozen=True)
class Bursts:
    """``[M]`` bytes and counts; for the first four see ``latency.Transfers``.

    Attributes:
        residual_burst: least that the last visit of an output tile loads, a fused addition's operand with it.
        residual_count: how often that is, where input channels are the innermost cut loop.
        block: the loops whose last tile hides the burst, a bit each by its place in ``TILED``.
        each_load: least that a visit loads.
        visits: of all tiles.
        each_store: least that leaves at once.
        stores: how often something leaves.
    """

    second_load: Floats
    before_drain: Floats
    burst: Floats
    count: Floats
    residual_burst: Floats
    residual_count: Floats
    block: Ints
    each_load: Floats
    visits: Floats
    each_store: Floats
    stores: Floats


def bursts_of(nest: LoopNest, hardware: Hardware, tilings: Tilings, order: tuple[str, ...]) -> Bursts:
    """Return where the traffic of a layer is uneven, for one order of the tile loops.

    The innermost loop of more than one trip (pixel loops that stand together count as one) decides: from visit to visit
    only the operands that it indexes change; where it begins again, a new tile of every operand is needed.
    """
    innermost = _innermost(tilings, order)
    size = hardware.precision
    visits = visit_count(nest, tilings)
    last = last_store(nest, hardware, tilings)
    weight_change = np.isin(innermost, _numbers(relevant_loops(nest, "weights")))
    input_change = np.isin(innermost, _numbers(relevant_loops(nest, "inputs")))
    channel = "K" if nest.is_depthwise else "C"
    tap_bytes = nest.R * nest.S * size.weight_bytes
    window = tilings.axes["P"].span * tilings.axes["Q"].span
    weights = tilings.tile("K") * tilings.tile("C") * tap_bytes
    inputs = tilings.tile("N") * tilings.tile(channel) * window * size.activation_bytes
    outputs = tilings.tile("N") * tilings.tile("K") * tilings.tile("P") * tilings.tile("Q")
    residual = outputs * (_residual_share(nest) * size.activation_bytes)
    again = nest.repeats > 1  # with one tile a repeat, the next repeat loads everything
    second = np.where(weight_change | again, weights, 0) + np.where(input_change | again, inputs, 0) + residual
    is_one = innermost < 0  # one tile a repeat: every visit loads everything
    is_sum = innermost == _NUMBER["C"]
    grown = last * _growth(tilings, innermost)
    before = np.where(is_sum, 0.0, np.where(innermost >= 0, grown, last if again else 0.0))
    least_window = tilings.axes["P"].least_span * tilings.axes["Q"].least_span
    least_weights = tilings.least("K") * tilings.least("C") * float(tap_bytes)
    least_inputs = tilings.least("N") * tilings.least(channel) * least_window * float(size.activation_bytes)
    trips, block = _inner_block(tilings, order, innermost)
    again_inputs = _inputs_again(nest, tilings, channel, block) * float(size.activation_bytes)
    burst = least_weights + again_inputs + last  # the store of the tile before the last has the port first
    count = np.where(innermost >= 0, visits / trips - 1, 0.0)
    return Bursts(
        second_load=np.where(visits > 1, second, np.inf),
        before_drain=before,
        burst=burst,
        count=count,
        residual_burst=least_weights + least_inputs + last * _residual_share(nest),
        residual_count=np.where(is_sum & (tilings.trips("C") >= _APART), visits / tilings.trips("C"), 0.0)
        * bool(nest.residual_elements),
        block=block,
        each_load=np.where(weight_change | is_one, least_weights, 0.0)
        + np.where(input_change | is_one, least_inputs, 0.0),
        visits=visits.astype(np.float64),
        each_store=last,
        stores=np.where(is_sum, visits / tilings.trips("C"), visits),
    )


_APART = 4
"""From so many visits of an output tile on, the stall before its last and that after it replace different visits'
computation, so that they add up."""


def _residual_share(nest: LoopNest) -> float:
    """Return the elements that a fused addition reads for each output."""
    return nest.residual_elements / nest.output_elements


_NUMBER = {loop: number for number, loop in enumerate(TILED)}


def _numbers(loops: frozenset[str]) -> list[int]:
    return [_NUMBER[loop] for loop in loops]


def _innermost(tilings: Tilings, order: tuple[str, ...]) -> Ints:
    """Return ``[M]`` the number of the innermost loop of more than one trip; -1 where there is one tile."""
    found = np.full(tilings.trips("N").shape, -1, dtype=np.int64)
    for loop in order:
        found = np.where(tilings.trips(loop) > 1, _NUMBER[loop], found)
    return found


def _growth(tilings: Tilings, innermost: Ints) -> Floats:
    """Return ``[M]`` how much larger than the last tile the tile before it can be."""
    growth = np.ones(innermost.shape)
    for loop, number in _NUMBER.items():
        if loop != "C":
            growth = np.where(innermost == number, tilings.tile(loop) / tilings.least(loop), growth)
    return growth


def _inner_block(tilings: Tilings, order: tuple[str, ...], innermost: Ints) -> tuple[Ints, Ints]:
    """Return ``[M]`` trips and members of the innermost cut loop, of all pixel loops that stand together there.

    A member is a bit, by the loop's place in ``TILED``. Input channels are none: sums leave only behind their last
    tile, so that the first tile of the next block hides what follows.
    """
    pixel = np.isin(innermost, [_NUMBER[loop] for loop in PIXELS])
    trips = np.ones(innermost.shape, dtype=np.int64)
    members = np.zeros(innermost.shape, dtype=np.int64)
    inside = np.ones(innermost.shape, dtype=bool)
    for loop in reversed(order):
        is_pixel = loop in PIXELS
        belongs = inside & ((innermost == _NUMBER[loop]) | (pixel & is_pixel))
        trips = trips * np.where(belongs, tilings.trips(loop), 1)
        members |= np.where(belongs & (loop != "C"), 1 << _NUMBER[loop], 0)
        inside &= belongs | (tilings.trips(loop) == 1)
    return trips, members


def _inputs_again(nest: LoopNest, tilings: Tilings, channel: str, block: Ints) -> Floats:
    """Return ``[M]`` least input elements of the tile with which the innermost block begins again.

    Loops of the block stand at their first tile; of other cut loops any tile may be in turn.
    """
    elements = np.asarray(tilings.least(channel), dtype=np.float64)
    for loop in PIXELS:
        is_first = (block >> _NUMBER[loop] & 1 > 0) | (tilings.trips(loop) == 1)
        axis = tilings.axes[loop]
        first, least = (axis.tile, axis.least) if loop == "N" else (axis.first_span, axis.least_span)
        elements = elements * np.where(is_first, first, least)
    return elements
