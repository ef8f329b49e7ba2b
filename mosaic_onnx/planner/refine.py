"""Plans under what most methods do not know: limits on slices, layers' own switches, shared links, slow-downs.

Three steps. Slices have a price (Lagrange), in the unit of the objective, and the fitting methods plan at several
prices: the dearer a slice, the fewer there are; for a sequential plan each price gives a bound too, since a plan within
a limit of K slices pays at most K times the price. What still has too many slices has them merged, the cheapest merge
first. Last, the best plan is polished by changes that the simulator judges with all features.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.chain.label_setting import labels, labels_apply
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.concurrent.method import heft
from mosaic_onnx.planner.core.infeasibility import check_possible
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.relaxation import relaxed
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import meets
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.search.simulated_search import polish
from mosaic_onnx.planner.sequential.method import sequential, sequential_fits
from mosaic_onnx.planner.throughput.method import throughput

INF = float("inf")
STEPS, SLOW_STEPS = 20, 5
"""Number of prices that are tried, with a fast method and with one that takes seconds."""
GROWTH = 8.0
"""Factor by which the price of a slice grows until a plan keeps the limits."""
MERGED_SLICES = 200
"""Proposals of more slices are not merged one by one."""


def refine(table: CostTable, request: Request) -> Answer:
    """Return plans that keep the limits on slices, polished with every feature, and a bound for sequential sums.

    Raises:
        InfeasibleError: proved: no plan exists, even without what is relaxed.
    """
    if not table.layer_names:
        return Answer(((),), 0.0, "nothing to do")
    until = time.monotonic() + request.time_limit_s
    loose = replace(request, max_slice_count=None, time_limit_s=request.time_limit_s / 4)
    free = relaxed(table)
    check_possible(free)
    answers = [_find(free, loose)]
    limits = Limits(table, request)
    if limits.exist:
        answers += _priced(free, loose, limits, until)
    proposals = list(dict.fromkeys(one for answer in answers for one in answer.proposals))
    kept = [one for one in proposals if limits.keeps(one)]
    if limits.exist:
        kept += [one for one in _merged(free, loose, limits, proposals, until) if one not in kept]
    best = _best(table, request, kept)
    if best is not None:
        first = polish(table, request, best, until) if until > time.monotonic() else best
        kept = [first, *(one for one in kept if one != first)]
    bounded = [answer for answer in answers if answer.bound is not None]
    most = max(bounded, key=lambda answer: answer.bound or 0.0, default=Answer(()))
    return Answer(tuple(kept), most.bound, most.bound_method)


def refine_fits(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs it: where the methods see less than the table and the request say."""
    if request.pareto:
        return False
    side_by_side = request.schedule == "concurrent"
    shares = bool(table.link_names) and (side_by_side or request.objective == "throughput")
    slows = table.slowdown is not None and side_by_side
    limited = table.max_slice_count is not None or request.max_slice_count is not None
    return limited or bool(table.layer_switches) or shares or slows


class Limits:
    """The limits on numbers of slices, of devices and of the whole plan."""

    def __init__(self, table: CostTable, request: Request) -> None:
        """Collect them."""
        self.state_device = table.rows.state_device
        none = np.full(len(table.device_names), INF)
        self.of_device: Floats = none if table.max_slice_count is None else table.max_slice_count
        self.of_plan = INF if request.max_slice_count is None else float(request.max_slice_count)

    @property
    def exist(self) -> bool:
        """Return whether there is any."""
        return self.of_plan < INF or bool(np.isfinite(self.of_device).any())

    @property
    def priced(self) -> tuple[Floats, float]:
        """Return [D] 1 for devices whose slices are priced, and the most priced slices that a plan may have."""
        limited = np.isfinite(self.of_device)
        if self.of_plan < INF:
            return np.ones(len(limited)), self.of_plan
        return limited.astype(np.float64), float(self.of_device[limited].sum())

    def excess(self, proposal: Proposal) -> float:
        """Return by how many slices the limits are exceeded in all."""
        counts = Counter(self.state_device[state] for _, state in proposal)
        over = sum(max(0.0, count - self.of_device[device]) for device, count in counts.items())
        return float(over + max(0.0, len(proposal) - self.of_plan))

    def keeps(self, proposal: Proposal) -> bool:
        """Return whether it keeps them all."""
        return self.excess(proposal) == 0


def _find(table: CostTable, request: Request) -> Answer:
    """Return the answer of the method that fits."""
    if not sequential_fits(table, request):
        return (throughput if request.objective == "throughput" else heft)(table, request)
    return sequential(table, request)


def _finder(table: CostTable, request: Request) -> tuple[Callable[[CostTable], Answer], int]:
    """Return what plans at one price, and how many prices there is time for."""
    if sequential_fits(table, request):
        quick = labels if labels_apply(table, request) else interval
        return (lambda priced: quick(priced, request)), STEPS
    slow = replace(request, time_limit_s=request.time_limit_s / SLOW_STEPS)
    return (lambda priced: _find(priced, slow)), SLOW_STEPS


def _priced(table: CostTable, request: Request, limits: Limits, until: float) -> list[Answer]:
    """Return the answers at several prices of a slice, with bounds less what slices within the limits pay."""
    find, steps = _finder(table, request)
    devices, most = limits.priced
    in_joules = request.objective == "energy" and table.layer_j is not None
    is_sum = request.schedule == "sequential" and request.objective in ("latency", "energy")
    is_sum = is_sum and request.deadline_s is None and request.budget_j is None
    costs = table.layer_j if in_joules and table.layer_j is not None else table.layer_s
    price = float(costs[np.isfinite(costs)].mean()) or 1e-6
    low, high = 0.0, INF
    found: list[Answer] = []
    for _ in range(steps):
        if time.monotonic() > until:
            break
        try:
            answer = find(_with_slice_price(table, price * devices, in_joules=in_joules))
        except InfeasibleError:
            break
        bound = answer.bound - price * most if is_sum and answer.bound is not None else None
        words = f"{answer.bound_method}; slices at a price" if bound is not None else ""
        found.append(Answer(answer.proposals, bound if bound is not None and bound > 0 else None, words))
        if any(limits.keeps(one) for one in answer.proposals):
            high = price
        else:
            low = price
        if high <= 1.02 * low:
            break
        price = (low * high) ** 0.5 if low and high < INF else (low * GROWTH if high == INF else high / GROWTH)
    return found


def _with_slice_price(table: CostTable, price: Floats, *, in_joules: bool) -> CostTable:
    """Return the table with a price [D] on every slice, measured ones too."""
    segments = {}
    for (first, last, state), (seconds, joules) in table.segments.items():
        extra = float(price[table.state_device[state]])
        own = joules
        if joules is None and table.layer_j is not None:
            own = float(table.layer_j[first : last + 1, state].sum())
        segments[first, last, state] = (seconds, (own or 0.0) + extra) if in_joules else (seconds + extra, joules)
    if in_joules:
        return replace(table, slice_j=table.slice_j + price, segments=segments)
    return replace(table, slice_s=table.slice_s + price, segments=segments)


def _merged(
    table: CostTable, request: Request, limits: Limits, proposals: Sequence[Proposal], until: float
) -> Iterator[Proposal]:
    """Yield proposals that exceed the limits with slices merged until they keep them, where that can be done."""
    ranked: list[tuple[float, int, Proposal]] = []
    for proposal in proposals:
        if not limits.keeps(proposal) and len(proposal) <= MERGED_SLICES:
            ranked.append((_figure(table, request, proposal), len(ranked), proposal))
    for _, _, proposal in sorted(ranked)[:4]:
        slices: Proposal | None = proposal
        while slices is not None and not limits.keeps(slices) and time.monotonic() < until:
            slices = _least_merge(table, request, limits, slices)
        if slices is not None and limits.keeps(slices):
            yield slices


def _least_merge(table: CostTable, request: Request, limits: Limits, proposal: Proposal) -> Proposal | None:
    """Return the proposal with up to three neighbours as one slice, at the least cost for each slice less."""
    possible = possible_states(table)
    best: tuple[float, float, Proposal] | None = None
    excess, now = limits.excess(proposal), _figure(table, request, proposal)
    for k in range(len(proposal)):
        for first, end in ((k, k + 2), (k, k + 3), (k, k + 1)):
            parts = proposal[first:end]
            if len(parts) < end - first:
                continue
            layers = tuple(layer for part in parts for layer in part.layers)
            for state in np.flatnonzero(possible[list(layers)].all(axis=0)).tolist():
                candidate = (*proposal[:first], PlacedSlice(layers, state), *proposal[end:])
                fewer = excess - limits.excess(candidate)
                if fewer > 0:
                    rank = (_figure(table, request, candidate) - now) / fewer
                    if rank < INF and (best is None or (rank, -fewer) < best[:2]):
                        best = rank, -fewer, candidate
    return None if best is None else best[2]


def _best(table: CostTable, request: Request, proposals: Sequence[Proposal]) -> Proposal | None:
    """Return the best proposal that keeps everything; None where none does."""
    found = []
    for number, proposal in enumerate(proposals):
        try:
            timeline = simulate(table, proposal, request.schedule)
            meets(table, request, proposal, timeline)
        except InfeasibleError:
            continue
        found.append((value(timeline, request.objective), number))
    return proposals[min(found)[1]] if found else None


def _figure(table: CostTable, request: Request, proposal: Proposal) -> float:
    """Return the objective; inf where the proposal cannot run."""
    try:
        return value(simulate(table, proposal, request.schedule), request.objective)
    except InfeasibleError:
        return INF
