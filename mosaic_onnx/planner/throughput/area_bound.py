"""The fractional area bound: were layers divisible and copies free, the work would still need this long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.costs import Floats, Ints


@dataclass(frozen=True, eq=False)
class Area:
    """A lower bound of the largest device load, and the prices that prove it."""

    seconds: float
    price: Floats
    """[C] what a second of each class counts for; with them the bound is Σ_v min_c price·work / Σ_c price·count"""


def area_bound(work_s: Floats, class_counts: Sequence[int], *, quick: bool = False) -> Area:
    """Return the least T so that the work fits into T seconds of every device, each piece of it freely divided.

    The linear program only finds the prices; the bound is computed from them afresh, so it holds whatever the solver's
    tolerances did.

    Args:
        work_s: [V, C] seconds of each piece on a device of each class; inf where it cannot run.
        class_counts: [C] how many devices there are of each.
        quick: do not look for the best prices of more than two classes.
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    best = Area(0.0, np.ones(len(counts)))
    if not len(work_s):
        return best
    candidates = [np.ones(len(counts))]
    if not quick or len(counts) <= 2:
        candidates += _prices(work_s, counts)
    for price in candidates:
        seconds = priced_work(work_s, price).sum() / float(price @ counts)
        if seconds > best.seconds:
            best = Area(float(seconds) * (1 - 1e-12), price)
    return best


def priced_work(work_s: Floats, price: Floats) -> Floats:
    """Return [V] the cheapest that each piece can be at these prices; inf where no class with a price can run it."""
    runnable = np.isfinite(work_s)
    with np.errstate(invalid="ignore"):
        priced: Floats = np.where(runnable, np.where(runnable, work_s, 0.0) * price, np.inf).min(axis=1)
    return priced


def _prices(work_s: Floats, counts: Floats) -> list[Floats]:
    """Return prices worth trying: the dual solution of the linear program over classes."""
    if len(counts) == 1:
        return []
    if len(counts) == 2:
        return _prices_of_two(work_s, counts)
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, hstack

    pieces, classes = np.nonzero(np.isfinite(work_s))
    columns = np.arange(len(pieces))
    shares = coo_array((np.ones(len(pieces)), (pieces, columns)), shape=(len(work_s), len(pieces) + 1))
    loads = coo_array((work_s[pieces, classes], (classes, columns)), shape=(len(counts), len(pieces)))
    limits = hstack([loads, coo_array(-counts.reshape(-1, 1))])
    answer = linprog(
        c=np.concatenate([np.zeros(len(pieces)), [1.0]]),
        A_ub=limits.tocsr(),
        b_ub=np.zeros(len(counts)),
        A_eq=shares.tocsr(),
        b_eq=np.ones(len(work_s)),
        method="highs",
    )
    if answer.status != 0:
        return []
    price: Floats = np.maximum(-np.asarray(answer.ineqlin.marginals, dtype=np.float64), 0.0)
    return [price] if price @ counts > 0 else []


def _prices_of_two(work_s: Floats, counts: Floats) -> list[Floats]:
    """Return the best prices of two classes: the bound is largest where some piece costs the same on either."""
    both = np.isfinite(work_s).all(axis=1) & (work_s > 0).all(axis=1)
    ratios = np.sort(work_s[both, 1] / work_s[both, 0])
    if not len(ratios):
        return []
    # With price r for class 0 and 1 for class 1: pieces of a ratio above r count r·work[0], the others work[1].
    order = np.argsort(work_s[both, 1] / work_s[both, 0], kind="stable")
    second = np.concatenate([[0.0], np.cumsum(work_s[both][order, 1])])[:-1]
    first = np.cumsum(work_s[both][order, 0][::-1])[::-1]
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
