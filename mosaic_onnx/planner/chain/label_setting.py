"""Label-setting on a chain: exact where a slice's cost depends on what went before.

Caps on whole devices, level switches, groups and one slice per device couple slices that are far apart. A label stands
for a plan of the first layers; beside its cost it carries what the rest may depend on (``label_state``). It is dropped
when another one with the same layers and last state is no worse in all of that, or when even the cheapest way on (the
chain without these couplings, counted backwards) leads to no better plan than one already known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, NoPlanFoundError
from mosaic_onnx.planner.chain.chain_costs import INF, ChainCosts, chain_costs, is_chain, is_tight
from mosaic_onnx.planner.chain.dynamic_program import best_on_chain
from mosaic_onnx.planner.chain.label_state import LabelRules, LabelState
from mosaic_onnx.planner.core.memory_windows import LiveWindow
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weights, weigh
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import meets
from mosaic_onnx.planner.core.simulate import simulate

MOST_LAYERS = 400
"""Longer chains are not tried by ``auto``: time grows with the square of the length."""
NARROW = 30
"""So many labels go on at each place in the search for a first plan."""
PRICE_STEPS = 40
"""Number of times that the prices of capped memory are improved."""


def labels(table: CostTable, request: Request) -> Answer:
    """Return the method: exact on chains for an objective that is a sum (latency, energy); for others it only proposes.

    Raises:
        InfeasibleError: the layers are no chain, or, proved: no slices of consecutive layers satisfy the constraints.
    """
    if not table.layer_names:
        return Answer(((),))
    if not is_chain(table, range(len(table.layer_names))):
        raise NoPlanFoundError("method labels plans chains only, and the layers of this profile branch")
    program = _Program(table, ENERGY if request.objective == "energy" else LATENCY, request)
    proposal, bound = program.solve()
    proves = request.schedule == "sequential" and request.objective in {"latency", "energy"} and is_tight(table)
    # One label dominates another by the objective alone, so under a limit on the other sum nothing is proved.
    proves = proves and request.deadline_s is None and request.budget_j is None
    how = "labels, exact" if bound >= program.known else "Lagrangian relaxation of caps on devices"
    return Answer((proposal,) if proposal is not None else (), bound if proves else None, how)


def best_by_labels(table: CostTable, weights: Weights, request: Request) -> Proposal | None:
    """Return the best slices of a chain for weights of seconds and joules; None where none are found in time."""
    try:
        return _Program(table, weights, request).solve()[0]
    except InfeasibleError:
        return None


def labels_apply(table: CostTable, request: Request) -> bool:
    """Return whether the table is a chain, not too long, on which slices far apart depend on one another.

    Under limits only where devices are capped or may hold one slice: switches and groups are in the chain's front.
    """
    if request.objective == "throughput" or len(table.layer_names) > MOST_LAYERS:
        return False
    if not is_chain(table, range(len(table.layer_names))):
        return False
    if np.isfinite(table.memory_bytes).any() or request.one_slice_per_device:
        return True
    limited = request.deadline_s is not None or request.budget_j is not None
    return not limited and bool(table.switch_s.any() or table.switch_j.any() or (table.group >= 0).any())


class Label(NamedTuple):
    """A plan of the first layers."""

    cost: float
    state: int
    carried: LabelState
    start: int
    """first place of its last slice"""
    before: Label | None


class NextSlice(NamedTuple):
    """One slice that may follow a label."""

    end: int
    """one after its last place"""
    cost: float
    """without the cut before it"""
    parameters: int
    rest: int
    """bytes of workspace and activations; both only counted on a device whose cap may bind"""


Buckets = dict[object, list[Label]]
"""(last state, what must be equal) -> labels of which none is no worse than another"""


class _Program:
    """The search over one chain."""

    def __init__(self, table: CostTable, weights: Weights, request: Request) -> None:
        self.table, self.request, self.weights = table, request, weights
        self.count = len(table.layer_names)
        weighed = weigh(table, weights)
        self.chain = chain_costs(table, weighed, range(self.count))
        self.carrier = LabelRules(table, weighed.switch, request)
        self.states = range(len(table.state_names))
        self.live = LiveWindow(table, list(range(self.count)))
        self.until = time.monotonic() + request.time_limit_s
        self.best: Proposal | None = None
        self.known = INF
        """cost of ``best``"""
        self.floors = [self._floor([0.0] * len(self.carrier.capped))]

    def solve(self) -> tuple[Proposal | None, float]:
        """Return the best plan and a lower bound of all plans' costs; no plan where time ended before one was found.

        First a narrow search, for a good plan to prune with; then the whole one.
        """
        self._offer(best_on_chain(self.chain, self.request.min_slice_count)[1])
        if self.carrier.capped:
            self._raise_floor()
        self._search(NARROW)
        complete = self._search(None)
        if not complete:
            return self.best, max(floor.least for floor in self.floors)
        if self.best is None:
            limits = (self.request.deadline_s, self.request.budget_j, self.request.max_error)
            proved = is_tight(self.table) and limits == (None, None, None)
            refusal = InfeasibleError if proved else NoPlanFoundError
            raise refusal("no slices satisfy the caps on devices, the groups and the demands together")
        return self.best, self.known

    def _search(self, beam: int | None) -> bool:
        """Extend labels place after place; whether all that may lead to a better plan were extended."""
        places: list[Buckets] = [{} for _ in range(self.count + 1)]
        places[0] = {None: [Label(0.0, -1, self.carrier.nothing, 0, None)]}
        for place in range(self.count):
            going_on = [label for bucket in places[place].values() for label in bucket]
            places[place] = {}
            if beam is not None and len(going_on) > beam:
                going_on = sorted(going_on, key=lambda label: self._least(label, place))[:beam]
            for state in self.states if going_on else ():
                self._extend(places, going_on, place, state)
                if time.monotonic() > self.until:
                    return False
        for label in (label for bucket in places[self.count].values() for label in bucket):
            if label.carried.slice_count >= self.carrier.min_slice_count:
                self._offer(_slices(label, self.count))
        return True

    def _offer(self, proposal: Proposal) -> None:
        """Keep a plan if it satisfies everything and is the best so far."""
        try:
            timeline = simulate(self.table, proposal)
            meets(self.table, self.request, proposal, timeline)
        except InfeasibleError:
            return
        cost = self.weights.seconds * timeline.seconds + self.weights.joules * (timeline.joules or 0.0)
        if cost < self.known:
            self.best, self.known = proposal, cost

    def _least(self, label: Label, place: int) -> float:
        """No plan that goes on from a label costs less."""
        return max([floor.under(label.cost, label.carried, place, label.state) for floor in self.floors])

    def _extend(self, places: list[Buckets], going_on: list[Label], place: int, state: int) -> None:
        """Append every slice in one state that may follow the labels at one place."""
        carrier, onward = self.carrier, self.floors[0].onward
        cuts = self.chain.cuts_into(place, state) if place else []
        pieces = list(self._pieces(place, state))
        for label in going_on:
            cut = cuts[label.state] if place else self.chain.per_slice[state]
            base = label.cost + cut + carrier.switch(label.carried, state)
            for piece in pieces:
                cost = base + piece.cost
                if cost + onward[piece.end][state] >= self.known:
                    continue
                layers = range(place, piece.end)
                carried = carrier.after(label.carried, state, layers, piece.parameters, piece.rest)
                if carried is None:
                    continue
                new = Label(cost, state, carried, place, label)
                if self._least(new, piece.end) < self.known:
                    self._keep(places[piece.end], new)

    def _keep(self, buckets: Buckets, new: Label) -> None:
        """Add a label unless another one is no worse; drop those that it makes needless."""
        bucket = buckets.setdefault((new.state, self.carrier.key(new.carried)), [])
        no_worse = self.carrier.no_worse
        if any(no_worse(old.cost, old.carried, new.cost, new.carried) for old in bucket):
            return
        bucket[:] = [old for old in bucket if not no_worse(new.cost, new.carried, old.cost, old.carried)]
        bucket.append(new)

    def _pieces(self, first: int, state: int) -> Iterator[NextSlice]:
        """Yield the slices in one state from a place on that keep its cap, shortest first."""
        chain, rows = self.chain, self.table.rows
        device = rows.state_device[state]
        counted, summed = device in self.carrier.capped, rows.activation_sum[device]
        window = chain.windows.get(state)
        cost, parameters, workspace, activations = 0.0, 0, 0, 0
        self.live.restart()
        for last in range(first, self.count):
            cost += chain.node[last][state]
            if cost == INF or (window is not None and window[last] > first):
                return
            if counted:
                parameters += rows.parameter_bytes[last][state]
                workspace = max(workspace, rows.workspace_bytes[last][state])
                if summed:
                    activations += rows.activation_bytes[last][state]
                else:
                    self.live.extend(first, last)
                    activations = self.live.largest(first, last)
            whole = [one.cost for one in chain.measured.get((state, last), ()) if one.first == first]
            without_entry = whole[0] - chain.per_slice[state] if whole else cost
            yield NextSlice(last + 1, without_entry, parameters, workspace + activations)

    def _floor(self, prices: list[float]) -> Floor:
        """The costs of going on with the couplings left out and a price on each capped device's parameter bytes."""
        price = [0.0] * len(self.states)
        for device, cost in zip(self.carrier.capped, prices, strict=True):
            for state in self.states:
                if self.table.rows.state_device[state] == device:
                    price[state] = cost
        onward = [[0.0] * len(self.states) for _ in range(self.count + 1)]
        for place in range(self.count - 1, -1, -1):
            best = [INF] * len(self.states)
            for state in self.states:
                pieces = self._pieces(place, state)
                rest = [one.cost + price[state] * one.parameters + onward[one.end][state] for one in pieces]
                least = min(rest, default=INF)
                if least < INF:
                    cuts = self.chain.cuts_into(place, state) if place else [self.chain.per_slice[state]] * len(best)
                    best = [min(old, cut + least) for old, cut in zip(best, cuts, strict=True)]
            onward[place] = best
        refund = sum(cost * cap for cost, cap in zip(prices, self.carrier.caps, strict=True))
        return Floor(prices, onward, refund)

    def _raise_floor(self) -> None:
        """Price the capped devices' memory so that the floor rises (Lagrangian relaxation, subgradient steps)."""
        carrier, rows = self.carrier, self.table.rows
        prices = [0.0] * len(carrier.capped)
        best, best_prices, step = self.floors[0].least, prices, 1.0
        for _ in range(PRICE_STEPS):
            priced = _priced(self.chain, self.table, dict(zip(carrier.capped, prices, strict=True)))
            cost, proposal = best_on_chain(priced, self.request.min_slice_count)
            self._offer(proposal)
            least = cost - sum(price * cap for price, cap in zip(prices, carrier.caps, strict=True))
            if least > best:
                best, best_prices = least, prices
            else:
                step *= 0.8
            used = [
                sum(
                    rows.parameter_bytes[n][s]
                    for layers, s in proposal
                    if rows.state_device[s] == device
                    for n in layers
                )
                for device in carrier.capped
            ]
            excess = [total - cap for total, cap in zip(used, carrier.caps, strict=True)]
            target = self.known if self.known < INF else 1.1 * best
            length = sum(one * one for one in excess)
            if not length or time.monotonic() > self.until:
                break
            move = step * max(target - least, 1e-3 * abs(least)) / length
            prices = [max(0.0, price + move * one) for price, one in zip(prices, excess, strict=True)]
        if any(best_prices):
            self.floors.append(self._floor(best_prices))


class Floor(NamedTuple):
    """The least cost of going on, couplings left out, with prices on the parameters of capped devices.

    A plan that keeps its caps pays no more for parameters than the caps cost, which are given back: so the least priced
    cost is a lower bound for every price, and with good ones a high one.
    """

    prices: list[float]
    """per capped device, per byte"""
    onward: list[list[float]]
    """[L + 1][S] priced cost of the layers from a place on, after a slice in each state"""
    refund: float

    @property
    def least(self) -> float:
        """No plan costs less."""
        return self.onward[0][0] - self.refund

    def under(self, cost: float, carried: LabelState, place: int, state: int) -> float:
        """No plan that goes on from such a label costs less."""
        paid = sum([price * total for price, total in zip(self.prices, carried.parameters, strict=True)])
        return cost + paid + self.onward[place][state] - self.refund


def _priced(chain: ChainCosts, table: CostTable, prices: dict[int, float]) -> ChainCosts:
    """Return the chain with a price on every byte of parameters on some devices."""
    price = np.array([prices.get(device, 0.0) for device in table.rows.state_device])
    if not price.any():
        return chain
    extra = table.parameter_bytes * price
    measured = {
        (state, last): [
            one._replace(cost=one.cost + float(extra[one.first : last + 1, state].sum())) for one in segments
        ]
        for (state, last), segments in chain.measured.items()
    }
    return replace(chain, node=(np.array(chain.node) + extra).tolist(), measured=measured)


def _slices(label: Label, count: int) -> Proposal:
    """Return the slices of a plan."""
    slices: list[PlacedSlice] = []
    end, step = count, label
    while step.before is not None:
        slices.append(PlacedSlice(tuple(range(step.start, end)), step.state))
        end, step = step.start, step.before
    return tuple(reversed(slices))
