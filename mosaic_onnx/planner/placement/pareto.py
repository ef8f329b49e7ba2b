"""All placements that no other beats in both seconds and joules: variable elimination on fronts instead of numbers.

Each table entry is a front (labels sorted by seconds, joules falling). Exact; for chains and graphs of low width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.planner.core.deadline import FOREVER, TimeUpError, check_time
from mosaic_onnx.planner.core.pareto_filter import front_indices
from mosaic_onnx.planner.placement.elimination import PLACE_LIMIT, Factor, elimination_order, factors_of, table_sum
from mosaic_onnx.planner.placement.problem import Placement

TABLE_LIMIT = 1 << 14
"""Entries of the largest table of fronts."""


@dataclass(frozen=True, eq=False)
class FrontPoint:
    """One placement of the front."""

    seconds: float
    joules: float
    states: Ints


@dataclass(frozen=True, eq=False)
class _Message:
    """A front for each assignment of the scope; labels of one assignment stand together.

    Attributes:
        scope: variables.
        starts: [assignments + 1] the first label of each.
        points: [labels, 2] seconds and joules.
        picked: [labels] the eliminated variable's value.
        parts: [labels, messages] the label of each message that it was made of.
        variable: the eliminated variable.
        made_of: the messages.
    """

    scope: tuple[int, ...]
    starts: Ints
    points: Floats
    picked: Ints
    parts: Ints
    variable: int
    made_of: tuple[_Message, ...]


def placement_front(
    seconds: Placement, joules: Placement, label_limit: int = 1_000_000, until: float = FOREVER
) -> list[FrontPoint] | None:
    """Return the front, by rising seconds; None where the graph is too wide, or there are too many labels for the time.

    Args:
        seconds: the problem in seconds.
        joules: the same problem (same choices) in joules.
        label_limit: labels looked at in all.
        until: ``time.monotonic()`` when the time is up.
    """
    if any(len(choices) == 0 for choices in seconds.choices):
        return []
    if any(len(hub.places) > PLACE_LIMIT for hub in seconds.hubs):
        return None
    sizes, factors = factors_of(seconds)
    _, twins = factors_of(joules)
    order = elimination_order(sizes, [factor.scope for factor in factors], TABLE_LIMIT)
    if order is None:
        return None
    try:
        roots = _eliminate(sizes, factors, twins, order, _Limits(label_limit, until))
    except TimeUpError:
        return None
    if roots is None:
        return None
    points, parts = _combine([root.points for root in roots])
    keep = front_indices(points)
    found = []
    for label in keep:
        picked = [0] * len(sizes)
        for root, part in zip(roots, parts[label], strict=True):
            _collect(root, int(part), picked)
        states = np.array([choices[picked[layer]] for layer, choices in enumerate(seconds.choices)], dtype=np.int64)
        point = points[label] + (seconds.constant, joules.constant)
        found.append(FrontPoint(float(point[0]), float(point[1]), states))
    return found


@dataclass(frozen=True)
class _Limits:
    """The limits of an elimination."""

    labels: int
    until: float


def _eliminate(
    sizes: Sequence[int], factors: Sequence[Factor], twins: Sequence[Factor], order: Sequence[int], limits: _Limits
) -> list[_Message] | None:
    """Return the messages that are left when all variables are gone: one per connected part of the graph.

    Raises:
        TimeUpError: the time is up.
    """
    turn = {variable: index for index, variable in enumerate(order)}
    plain: list[list[tuple[Factor, Factor]]] = [[] for _ in sizes]
    for factor, twin in zip(factors, twins, strict=True):
        plain[min(factor.scope, key=turn.__getitem__)].append((factor, twin))
    messages: list[list[_Message]] = [[] for _ in sizes]
    roots = []
    for variable in order:
        message = _message(variable, sizes, plain[variable], messages[variable], limits)
        if message is None:
            return None
        limits = replace(limits, labels=limits.labels - len(message.points))
        if message.scope:
            messages[min(message.scope, key=turn.__getitem__)].append(message)
        else:
            roots.append(message)
    return roots


def _message(
    variable: int, sizes: Sequence[int], plain: list[tuple[Factor, Factor]], incoming: list[_Message], limits: _Limits
) -> _Message | None:
    """Eliminate a variable: per assignment of the others, the front over its values; None beyond the limit.

    Raises:
        TimeUpError: the time is up.
    """
    limit = limits.labels
    scopes = [factor.scope for factor, _ in plain] + [message.scope for message in incoming]
    scope = tuple(sorted({other for s in scopes for other in s} - {variable}))
    both = (*scope, variable)
    costs = np.stack([table_sum(both, sizes, [pair[i] for pair in plain]) for i in (0, 1)], axis=-1)
    starts, points, picked, parts = [0], [], [], []
    for assignment in product(*(range(sizes[other]) for other in scope)):
        check_time(limits.until)
        here: list[tuple[Floats, Ints, Ints]] = []
        for pick in range(sizes[variable]):
            cost = costs[(*assignment, pick)]
            if np.isfinite(cost).all():
                value = dict(zip(both, (*assignment, pick), strict=True))
                spans = [_span(message, value, sizes) for message in incoming]
                sums, made_of = _combine([m.points[a:b] for m, (a, b) in zip(incoming, spans, strict=True)])
                made_of = made_of + np.array([a for a, _ in spans], dtype=np.int64)
                here.append((sums + cost, np.full(len(sums), pick), made_of))
                limit -= len(sums)
        if limit < 0:
            return None
        if here:
            all_points = np.concatenate([item[0] for item in here])
            keep = front_indices(all_points)
            points.append(all_points[keep])
            picked.append(np.concatenate([item[1] for item in here])[keep])
            parts.append(np.concatenate([item[2] for item in here])[keep])
        starts.append(starts[-1] + (len(points[-1]) if here else 0))
    return _Message(
        scope,
        np.array(starts),
        np.concatenate(points) if points else np.zeros((0, 2)),
        np.concatenate(picked) if picked else np.zeros(0, dtype=np.int64),
        np.concatenate(parts) if parts else np.zeros((0, len(incoming)), dtype=np.int64),
        variable,
        tuple(incoming),
    )


def _span(message: _Message, value: dict[int, int], sizes: Sequence[int]) -> tuple[int, int]:
    """Return the labels of a message for one assignment."""
    at = 0
    for other in message.scope:
        at = at * sizes[other] + value[other]
    return int(message.starts[at]), int(message.starts[at + 1])


def _combine(fronts: Sequence[Floats]) -> tuple[Floats, Ints]:
    """Return [sums, 2] the front of all sums of one point of each front, and [sums, fronts] of which points."""
    total, parts = np.zeros((1, 2)), np.zeros((1, 0), dtype=np.int64)
    for points in fronts:
        sums = (total[:, None, :] + points[None, :, :]).reshape(-1, 2)
        first, second = np.divmod(np.arange(len(sums)), max(len(points), 1))
        keep = front_indices(sums)
        total = sums[keep]
        parts = np.concatenate([parts[first[keep]], second[keep][:, None]], axis=1)
    return total, parts


def _collect(message: _Message, label: int, picked: list[int]) -> None:
    stack = [(message, label)]
    while stack:
        at, index = stack.pop()
        picked[at.variable] = int(at.picked[index])
        stack += [(part, int(i)) for part, i in zip(at.made_of, at.parts[index], strict=True)]
