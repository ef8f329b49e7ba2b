"""The interval program on a chain, in O(L·S): MOSAIC's equation 9 with one open slice per state.

``closed[j][s]`` is the least cost of running the first j + 1 layers with the last slice in state s. It either goes on
with the slice that is open in s, or enters s anew at j (the cheapest way out of any state, plus the way into s).
Where a cap or a measured slice makes the best start depend on the end, a monotone queue of starts replaces the open
slice: values are kept relative to prefix sums, dominated starts leave at the back, starts outside the cap's window at
the front.

At least K slices: K runs one after the other; in run q every plan has q + 1 slices, in the last one at least K. Where
there are no more than K layers, a window of one layer does it in one run.

Plain lists: over the few states of a machine they are as fast as arrays, and need no second version for queues.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from operator import add

from mosaic_onnx.core.errors import NoPlanFoundError
from mosaic_onnx.planner.chain.chain_costs import INF, ChainCosts
from mosaic_onnx.planner.core.memory_windows import single_layers
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal


def best_on_chain(chain: ChainCosts, min_slice_count: int = 0) -> tuple[float, Proposal]:
    """Return the cheapest slices of a chain with at least so many slices (or as many as layers), and their cost.

    Raises:
        NoPlanFoundError: no slices cover all layers.
    """
    if min_slice_count >= len(chain.order):
        windows = single_layers(chain.windows, len(chain.per_slice), len(chain.order))
        chain, min_slice_count = replace(chain, windows=windows), 0
    count = max(1, min_slice_count)
    runs: list[_Pass] = []
    for number in range(count):
        runs.append(_Pass(chain, runs[-1].closed if runs else None, again=number == count - 1))
    final = runs[-1].closed[-1]
    cost = min(final)
    if cost == INF:
        raise NoPlanFoundError("no slices of consecutive layers can run every layer within the caps")
    return cost, _trace_back(chain, runs, final.index(cost))


def _trace_back(chain: ChainCosts, runs: list[_Pass], state: int) -> Proposal:
    """Return the slices that end in ``state`` at the last place of the last run, found from the last to the first."""
    slices: list[PlacedSlice] = []
    number, last = len(runs) - 1, len(chain.order) - 1
    while last >= 0:
        run = runs[number]
        first = run.start_of(last, state)
        slices.append(PlacedSlice(chain.order[first : last + 1], state))
        last = first - 1
        if first > 0:
            state, own = run.before(first, state)
            number -= 0 if own else 1
    return tuple(reversed(slices))


class _Pass:
    """One pass along the chain.

    Attributes:
        closed: [L][S] least cost up to each place with the last slice ended there in each state.
        entries: [L][S] least cost of beginning a slice at each place in each state.
    """

    def __init__(self, chain: ChainCosts, earlier: list[list[float]] | None, *, again: bool) -> None:
        """Run along the chain.

        Args:
            chain: the costs.
            earlier: ``closed`` of the run with one slice less; None where slices may begin at the first layer.
            again: whether a slice may follow another one of this same run.
        """
        self.chain, self.earlier, self.again = chain, earlier, again
        self.closed: list[list[float]] = []
        self.entries: list[list[float]] = []
        self.queues = [_Queue(chain, state, self.entries) for state in chain.queued]
        self.queue_of = {queue.state: queue for queue in self.queues}
        self._run()

    def _run(self) -> None:
        chain, closed, entries, queues = self.chain, self.closed, self.entries, self.queues
        enter = self._entry_with_direct if chain.direct else self._entry
        for j, node in enumerate(chain.node):
            if j == 0:
                entry = chain.per_slice if self.earlier is None else [INF] * len(node)
                row = [a + b for a, b in zip(entry, node, strict=True)]
            else:
                entry = enter(j, self._sources(j))
                row = [(a if a <= b else b) + c for a, b, c in zip(row, entry, node, strict=True)]
            entries.append(entry)
            for queue in queues:
                row[queue.state] = queue.step(j, entry[queue.state], node[queue.state])
            closed.append(row)

    def _sources(self, j: int) -> list[float]:
        """Return [S] least cost with a slice just ended before place ``j``, whatever run it belongs to."""
        if self.earlier is None:
            return self.closed[j - 1] if self.again else [INF] * len(self.closed[0])
        if not self.again:
            return self.earlier[j - 1]
        return [a if a <= b else b for a, b in zip(self.closed[j - 1], self.earlier[j - 1], strict=True)]

    def _entry(self, j: int, source: list[float]) -> list[float]:
        """Return [S] least cost of beginning a slice at place ``j``, by way of host or by staying on the device."""
        chain, per_slice = self.chain, self.chain.per_slice
        out = min(map(add, source, chain.leaving[j - 1]))
        entry = [out + into for into in chain.entering[j]]
        for first, end in chain.keeps:
            stay = min(source[first:end])
            for state in range(first, end):
                cost = stay + per_slice[state]
                if cost < entry[state]:  # noqa: PLR1730 (min() takes twice as long)
                    entry[state] = cost
        return entry

    def _entry_with_direct(self, j: int, source: list[float]) -> list[float]:
        """As ``_entry`` where some pairs of devices copy directly, and then always do."""
        return [min(map(add, source, self.chain.cuts_into(j, state))) for state in range(len(source))]

    def start_of(self, last: int, state: int) -> int:
        """Return the first place of the best slice that ends at ``last`` in ``state``."""
        queue = self.queue_of.get(state)
        if queue is not None:
            return queue.starts[last]
        first = last
        while first > 0 and self.closed[first - 1][state] <= self.entries[first][state]:
            first -= 1
        return first

    def before(self, first: int, state: int) -> tuple[int, bool]:
        """Return the state of the slice before the one that begins at ``first``, and whether it belongs to this run."""
        source = self._sources(first)
        costs = list(map(add, source, self.chain.cuts_into(first, state)))
        previous = costs.index(min(costs))
        return previous, self.again and self.closed[first - 1][previous] <= source[previous]


class _Queue:
    """The starts of slices in one state that may still be best, cheapest and oldest in front."""

    def __init__(self, chain: ChainCosts, state: int, entries: list[list[float]]) -> None:
        self.state, self.entries = state, entries
        self.per_slice = chain.per_slice[state]
        self.window = chain.windows.get(state)
        self.measured = chain.measured
        self.starts: list[int] = []
        """[L] the start of the best slice that ends at each place"""
        self.waiting: deque[tuple[float, int]] = deque()
        """(entry cost less the prefix sum before the start, start)"""
        self.prefix = 0.0
        """Σ node up to here"""
        self.prefixes: list[float] = []
        """[L] Σ node before each place"""
        self.broken = 0
        """one after the last layer that the state cannot run"""

    def step(self, j: int, entry: float, node: float) -> float:
        """Return the least cost with a slice in this state ended at place ``j``."""
        self.prefixes.append(self.prefix)
        if node == INF:
            self.waiting.clear()
            self.broken = j + 1
            self.starts.append(j)
            return INF
        waiting, relative = self.waiting, entry - self.prefix
        if entry < INF:
            while waiting and waiting[-1][0] >= relative:
                waiting.pop()
            waiting.append((relative, j))
        self.prefix += node
        oldest = self.window[j] if self.window is not None else 0
        while waiting and waiting[0][1] < oldest:
            waiting.popleft()
        best, start = waiting[0] if waiting else (INF, j)
        best += self.prefix
        segments = self.measured.get((self.state, j))
        if segments is not None:
            oldest = max(oldest, self.broken)
            measured = {one.first: one.cost for one in segments}
            if start in measured:
                best, start = self._best_other(j, oldest, measured)
            for first, cost in measured.items():
                whole = self.entries[first][self.state] - self.per_slice + cost
                if first >= oldest and whole < best:
                    best, start = whole, first
        self.starts.append(start)
        return best

    def _best_other(self, j: int, oldest: int, measured: dict[int, float]) -> tuple[float, int]:
        """Return the best slice that ends at ``j`` and was not measured as a whole, among all starts."""
        costs = [
            (self.entries[first][self.state] - self.prefixes[first] + self.prefix, first)
            for first in range(oldest, j + 1)
            if first not in measured
        ]
        return min(costs, default=(INF, j))
