"""The fractional area bound: were layers divisible and copies free, the work would still need this long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.core.device_classes import DeviceClass, device_classes
from mosaic_onnx.planner.core.lower_bounds import possible_states, segment_floor
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.throughput.loads import pieces_of

SAMPLED_PIECES = 2_000
"""Prices are found from so many pieces at most, spread evenly over all of them."""


@dataclass(frozen=True, eq=False)
class Area:
    """A lower bound of the largest device load, and the prices that prove it.

    With them the bound is (Σ_v min_c (price·work + byte_price·bytes) - Σ_c byte_price·cap·count) / capacity(price).
    """

    seconds: float
    price: Floats
    """[C] what a second of each class counts for"""
    byte_price: Floats
    """[C] what a byte on each class counts for; 0 where its devices have no cap"""


@dataclass(frozen=True, eq=False)
class Weights:
    """Parameters of the pieces, and the caps on them."""

    bytes: Floats
    """[V, C] of each piece on a device of each class"""
    cap_bytes: Floats
    """[C] what one device of each class holds; inf for no cap"""


@dataclass(frozen=True)
class Sharing:
    """Classes some of whose devices exclude each other.

    Attributes:
        classes: their numbers; no class is in two of these.
        at_once: devices of them that can work at the same time, at most.
    """

    classes: tuple[int, ...]
    at_once: int


def fractional_area(table: CostTable, *, quick: bool = False) -> float:
    """Return a lower bound of the largest device load, and so of every makespan: work freely divided among devices.

    Args:
        table: costs; parameters count where devices have caps.
        quick: do not look for the best prices of more than two classes.
    """
    classes = device_classes(table)
    floor = np.where(possible_states(table), segment_floor(table, weigh(table, LATENCY)), np.inf)
    work = np.stack([floor[:, list(one.states)].min(axis=1) for one in classes], axis=1)
    held = np.stack([table.parameter_bytes[:, list(one.states)].min(axis=1) for one in classes], axis=1)
    if (table.group >= 0).any():
        pieces = pieces_of(table)
        work = np.stack([work[list(layers)].sum(axis=0) for layers in pieces])
        held = np.stack([held[list(layers)].sum(axis=0) for layers in pieces])
    caps = np.array([table.memory_bytes[one.devices[0]] for one in classes])
    weights = Weights(held.astype(np.float64), caps) if np.isfinite(caps).any() else None
    sharing = _sharing(table, classes)
    return area_bound(work, [len(one.devices) for one in classes], weights, sharing, quick=quick).seconds


def area_bound(
    work_s: Floats,
    class_counts: Sequence[int],
    weights: Weights | None = None,
    sharing: Sequence[Sharing] = (),
    *,
    quick: bool = False,
) -> Area:
    """Return the least T so that the work fits into T seconds of every device, each piece of it freely divided.

    The linear program only finds the prices; the bound is computed from them afresh, so it holds whatever the solver's
    tolerances did.

    Args:
        work_s: [V, C] seconds of each piece on a device of each class; inf where it cannot run.
        class_counts: [C] how many devices there are of each.
        weights: bytes and caps; None for no caps.
        sharing: classes that cannot all work at once.
        quick: do not look for the best prices of more than two classes.
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    nothing = np.zeros(len(counts))
    best = Area(0.0, np.ones(len(counts)), nothing)
    if not len(work_s):
        return best
    candidates = [(np.ones(len(counts)), nothing)]
    if not quick or len(counts) <= 2:
        candidates += [(price, nothing) for price in _prices_of_two(work_s, counts)] if len(counts) == 2 else []
        if len(counts) > 2 or weights is not None or sharing:
            candidates += _prices(work_s, counts, weights, sharing)
    for price, byte_price in candidates:
        extra = 0.0 if weights is None else byte_price * weights.bytes
        worth = priced_work(work_s, price, extra).sum()
        if weights is not None and byte_price.any():
            worth -= float((byte_price * np.where(byte_price > 0, weights.cap_bytes, 0.0)) @ counts)
        seconds = worth / _capacity(price, counts, sharing)
        if seconds > best.seconds:
            best = Area(float(seconds) * (1 - 1e-12), price, byte_price)
    return best


def _sharing(table: CostTable, classes: Sequence[DeviceClass]) -> list[Sharing]:
    """Return the classes whose devices exclude each other, or devices of other classes."""
    class_of = {device: number for number, one in enumerate(classes) for device in one.devices}
    joined: list[set[int]] = []
    for group in table.exclusive_groups:
        members = {class_of[device] for device in group}
        apart = [one for one in joined if not one & members]
        joined = [*apart, members.union(*(one for one in joined if one & members))]
    found = [
        Sharing(tuple(sorted(one)), _at_once(table, {d for number in one for d in classes[number].devices}))
        for one in joined
    ]
    return [one for one in found if one.at_once < sum(len(classes[number].devices) for number in one.classes)]


def _at_once(table: CostTable, devices: set[int]) -> int:
    """Return a number of devices of which more never work at once: exclusive groups that cover them, greedily."""
    left, count = set(devices), 0
    while left:
        covered = max((left.intersection(group) for group in table.exclusive_groups), key=len, default=set())
        left -= covered or {min(left)}
        count += 1
    return count


def _capacity(price: Floats, counts: Floats, sharing: Sequence[Sharing]) -> float:
    """Return what one second of all devices counts for at most."""
    alone = np.ones(len(counts), dtype=bool)
    capacity = 0.0
    for one in sharing:
        room = float(one.at_once)
        for number in sorted(one.classes, key=lambda number: -price[number]):
            capacity += price[number] * min(room, counts[number])
            room -= min(room, counts[number])
        alone[list(one.classes)] = False
    return capacity + float(price[alone] @ counts[alone])


def priced_work(work_s: Floats, price: Floats, extra: Floats | float = 0.0) -> Floats:
    """Return [V] the cheapest that each piece can be at these prices; inf where no class with a price can run it.

    Args:
        work_s: [V, C] seconds; inf where a class cannot run the piece.
        price: [C] of a second.
        extra: [V, C] what is paid besides.
    """
    runnable = np.isfinite(work_s)
    with np.errstate(invalid="ignore"):
        worth = np.where(runnable, work_s, 0.0) * price + extra
        priced: Floats = np.where(runnable, worth, np.inf).min(axis=1)
    return priced


def _prices(
    work_s: Floats, counts: Floats, weights: Weights | None, sharing: Sequence[Sharing]
) -> list[tuple[Floats, Floats]]:
    """Return prices worth trying: the dual solution of the linear program over classes, for a sample of the pieces."""
    step = -(-len(work_s) // SAMPLED_PIECES)
    sample = slice(None, None, step)
    return _dual(work_s[sample], counts, None if weights is None else _sampled(weights, sample), sharing)


def _sampled(weights: Weights, sample: slice) -> Weights:
    """Return a sample of the pieces, and caps of the same share of all bytes."""
    part = weights.bytes[sample].sum() / max(float(weights.bytes.sum()), 1.0)
    return Weights(weights.bytes[sample], weights.cap_bytes * part)


def _dual(
    work_s: Floats, counts: Floats, weights: Weights | None, sharing: Sequence[Sharing]
) -> list[tuple[Floats, Floats]]:
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, hstack, vstack

    pieces, classes = np.nonzero(np.isfinite(work_s))
    columns = np.arange(len(pieces))
    shares = coo_array((np.ones(len(pieces)), (pieces, columns)), shape=(len(work_s), len(pieces) + 1))
    loads = coo_array((work_s[pieces, classes], (classes, columns)), shape=(len(counts), len(pieces)))
    members = np.eye(len(counts))
    for one in sharing:
        members = np.vstack([members, np.isin(np.arange(len(counts)), one.classes)])
    at_once = np.concatenate([counts, [one.at_once for one in sharing]])
    limits = hstack([coo_array(members) @ loads, coo_array(-at_once.reshape(-1, 1))])
    rooms = np.zeros(len(at_once))
    capped = np.zeros(0, dtype=np.int64)
    unit = 1.0
    if weights is not None:
        capped = np.flatnonzero(np.isfinite(weights.cap_bytes))
        unit = max(float(weights.bytes.max(initial=0.0)), 1.0)
        held = weights.bytes[pieces, classes] / unit
        bytes_of = coo_array((held, (classes, columns)), shape=(len(counts), len(pieces) + 1)).tocsr()[capped]
        limits = vstack([limits, bytes_of])
        rooms = np.concatenate([rooms, weights.cap_bytes[capped] * counts[capped] / unit])
    answer = linprog(
        c=np.concatenate([np.zeros(len(pieces)), [1.0]]),
        A_ub=limits.tocsr(),
        b_ub=rooms,
        A_eq=shares.tocsr(),
        b_eq=np.ones(len(work_s)),
        method="highs",
    )
    if answer.status != 0:
        return []
    dual = np.maximum(-np.asarray(answer.ineqlin.marginals, dtype=np.float64), 0.0)
    price, byte_price = dual[: len(at_once)] @ members, np.zeros(len(counts))
    byte_price[capped] = dual[len(at_once) :] / unit
    return [(price, byte_price)] if price @ counts > 0 else []


def _prices_of_two(work_s: Floats, counts: Floats) -> list[Floats]:
    """Return the best prices of two classes: the bound is largest where some piece costs the same on either."""
    on_both = work_s[np.isfinite(work_s).all(axis=1) & (work_s > 0).all(axis=1)]
    with np.errstate(over="ignore"):
        ratios = on_both[:, 1] / on_both[:, 0]
    usable = np.isfinite(ratios)  # a piece of nearly no seconds on one class says nothing about prices
    order = np.argsort(ratios[usable], kind="stable")
    on_both, ratios = on_both[usable][order], ratios[usable][order]
    if not len(ratios):
        return []
    # With price r for class 0 and 1 for class 1: pieces of a ratio above r count r·work[0], the others work[1].
    second = np.concatenate([[0.0], np.cumsum(on_both[:, 1])])[:-1]
    first = np.cumsum(on_both[::-1, 0])[::-1]
    only_first = np.where(np.isinf(work_s[:, 1]), work_s[:, 0], 0.0).sum()
    only_second = np.where(np.isinf(work_s[:, 0]), work_s[:, 1], 0.0).sum()
    bounds = (ratios * (first + only_first) + second + only_second) / (ratios * counts[0] + counts[1])
    return [np.array([ratios[int(bounds.argmax())], 1.0])]


def cumulated(weights: Floats, member: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> Floats:
    """Return [K, N] the sum of each row of weights over the members of each set, a block of sets at a time.

    Args:
        weights: [K, V]
        member: [V, N]
    """
    total = np.empty((len(weights), member.shape[1]))
    step = max(1, 16_000_000 // max(member.shape[0], 1))
    for start in range(0, member.shape[1], step):
        total[:, start : start + step] = weights @ member[:, start : start + step].astype(np.float64)
    return total


def whole_numbers(weights: Floats, limit: float = 2.0**50) -> tuple[Ints, float]:
    """Return weights rounded down to whole multiples of a step, so small that their sums are exact, and the step.

    Sums of them are the same in any order of adding, which floating-point sums are not.
    """
    total = float(weights.sum())
    step = total / limit if total > 0 else 1.0
    return np.floor(weights / step).astype(np.int64), step
