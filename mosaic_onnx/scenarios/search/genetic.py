"""The whole search: seeds, then rounds of NSGA and local search, until nothing is gained or time is up.

Each round draws from a generator of its own, seeded by the search's seed and the round's number, and batches do not
depend on the number of workers, and the time limit is counted in work: the same seed gives the same schedule wherever
it runs, unless a machine is too slow for its clock not to cut the search short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.scenarios.bound import MultiplierBound
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.candidates import Candidate, evaluated
from mosaic_onnx.scenarios.search.fitness import EvaluationRequest
from mosaic_onnx.scenarios.search.genome import genome_of
from mosaic_onnx.scenarios.search.local_search import LocalSearch, target
from mosaic_onnx.scenarios.search.moves import Moves
from mosaic_onnx.scenarios.search.nsga import evolve, has_pymoo
from mosaic_onnx.scenarios.search.operators import cross, mutate
from mosaic_onnx.scenarios.search.pool import CachingPool, MeteredPool, Pool
from mosaic_onnx.scenarios.search.repair import Repair
from mosaic_onnx.scenarios.search.seeds import baseline_seeds, residual_plans, whole_model_mappings, with_orders
from mosaic_onnx.scenarios.simulation.multiplier import PRECISION

INF = float("inf")
WORK_PER_SECOND = 40_000
"""Simulated slices that a second of the time limit stands for: about half of what one core of 2020 simulates. The clock
itself stops a search on slower machines only, so that elsewhere the same limit gives the same schedule."""
_ELITE = 8
_ALIKE = 2
"""Schedules of one multiplier in the elite: the rest would be copies of each other."""
Note = Callable[[str], None]


@dataclass(frozen=True)
class SearchOptions:
    """The settings of the search.

    Attributes:
        seed: of all draws, and of the arrivals' jitter.
        time_limit_s: no round, generation or batch begins after it, or after the work that stands for it
            (``WORK_PER_SECOND``).
        population: chromosomes of a generation.
        generation_count: of NSGA in each round.
        batch_count: of local search without gain, in each round.
        patience: rounds without gain before the search ends.
        most_rounds: rounds at most; None for any number.
    """

    seed: int = 0
    time_limit_s: float = 60.0
    population: int = 32
    generation_count: int = 8
    batch_count: int = 80
    patience: int = 5
    most_rounds: int | None = None


@dataclass(frozen=True)
class SearchState:
    """The state of a search after a round, from which it can continue.

    Attributes:
        elite: the best schedules found, the best one first.
        round: rounds done.
        idle: rounds done since the last gain.
        baselines: least multiplier of each baseline.
        history: (rounds done, least multiplier) after the seeds and after each round.
    """

    elite: tuple[Candidate, ...]
    round: int = 0
    idle: int = 0
    baselines: dict[str, float] = field(default_factory=dict)
    history: tuple[tuple[int, float], ...] = ()

    @property
    def best(self) -> Candidate:
        """Return the schedule with the least multiplier; of several one by fixed priorities."""
        return self.elite[0]


@dataclass(frozen=True)
class Search:
    """A search for the schedule of least multiplier.

    Attributes:
        instance: the scenario with costs.
        bound: no schedule is satisfied below it.
        pool: where schedules are evaluated.
        options: how long and how widely.
        note: told what could not be done.
        keep: called with the state after the seeds and after each round.
    """

    instance: Instance
    bound: MultiplierBound
    pool: Pool
    options: SearchOptions = field(default_factory=SearchOptions)
    note: Note = lambda text: None
    keep: Callable[[SearchState], None] = lambda state: None

    def run(self, state: SearchState | None = None) -> SearchState:
        """Search, from the beginning or from where another search stood.

        Raises:
            InfeasibleError: no schedule was found that can run.
        """
        end_s = time.monotonic() + self.options.time_limit_s
        budget = self.options.time_limit_s * WORK_PER_SECOND
        metered = MeteredPool(self.pool, self.instance)

        def go_on() -> bool:
            return metered.work < budget and time.monotonic() < end_s

        return replace(self, pool=CachingPool(metered))._run(state, go_on)

    def _run(self, state: SearchState | None, go_on: Callable[[], bool]) -> SearchState:
        repair = Repair(genome_of(self.instance))
        if state is None:
            state = self._seeded(repair)
            self.keep(state)
        repair.fallback = state.best.schedule
        if not has_pymoo():
            self.note("pymoo is not installed: local search only (pip install 'mosaic-onnx[scenarios]')")
        while not self._is_done(state) and go_on():
            state = self._round(repair, state, go_on)
            self.keep(state)
        return state

    def _is_done(self, state: SearchState) -> bool:
        options = self.options
        is_proved = state.best.multiplier <= self.bound.value * PRECISION
        is_last = options.most_rounds is not None and state.round >= options.most_rounds
        return is_proved or is_last or state.idle >= options.patience

    def _seeded(self, repair: Repair) -> SearchState:
        """Evaluate all seeds."""
        baselines = baseline_seeds(self.instance)
        schedules: dict[Schedule, None] = dict.fromkeys(baselines.values())
        own = [baselines[name].proposals for name in ("best-mapping", "mosaic-each", "npu-only") if name in baselines]
        mappings = whole_model_mappings(repair)
        residual = [plan for proposals in (*own, *mappings[:2]) for plan in residual_plans(repair, proposals)]
        for proposals in (*own, *mappings, *residual):
            schedules.update(dict.fromkeys(with_orders(self.instance, proposals)))
        if not schedules:
            schedules[repair(repair.genome.draw(np.random.default_rng(self.options.seed)))] = None
        found = self._least(list(schedules))
        if not found:
            raise InfeasibleError("no schedule was found that can run", "more memory, or devices that run more layers")
        known = {one.schedule: one.multiplier for one in found}
        figures = {name: known[one] for name, one in baselines.items() if one in known}
        return _with_history(SearchState(elite_of(found), baselines=figures))

    def _least(self, schedules: list[Schedule]) -> list[Candidate]:
        """Return the least multipliers of those that can run."""
        return evaluated(self.pool, schedules, self.bound.value, self.options.seed)

    def _round(self, repair: Repair, state: SearchState, go_on: Callable[[], bool]) -> SearchState:
        """Evolve, then climb from the best and from another one of the elite."""
        rng = np.random.default_rng((self.options.seed, state.round))
        found = list(state.elite)
        if has_pymoo():
            found += self._evolved(repair, state, rng, go_on)
        local_search = LocalSearch(Moves(repair), self.pool, self.bound.value, self.options.seed, go_on)
        elite = elite_of(found)
        fresh = evaluated(self.pool, [repair(repair.genome.draw(rng))], self.bound.value, self.options.seed)
        starts = [elite[0], elite[int(rng.integers(len(elite)))], *fresh]
        for start in starts:
            found.append(local_search.improve(start, self.options.batch_count // len(starts), rng))
        elite = elite_of(found)
        gained = elite[0].multiplier < state.best.multiplier
        return _with_history(replace(state, elite=elite, round=state.round + 1, idle=0 if gained else state.idle + 1))

    def _evolved(
        self, repair: Repair, state: SearchState, rng: np.random.Generator, go_on: Callable[[], bool]
    ) -> list[Candidate]:
        """Return the front that NSGA makes of the groups' makespans just below the best multiplier."""
        genome, multiplier, seed = repair.genome, target(state.best), self.options.seed

        def decode(genes: Ints) -> list[Schedule]:
            return [repair(row) for row in genes]

        def evaluate(genes: Ints) -> Floats:
            requests = [EvaluationRequest("makespans", one, multiplier, seed) for one in decode(genes)]
            return np.array([evaluation.makespans for evaluation in self.pool.evaluate(requests)])

        start = [genome.encode(one.schedule) for one in state.elite]
        while len(start) < self.options.population:
            parent = start[int(rng.integers(len(state.elite)))]
            drawn = rng.random() < 0.3
            start.append(genome.draw(rng) if drawn else mutate(genome, mutate(genome, parent, rng), rng))
        genes, _ = evolve(
            np.array(start),
            2 * len(self.instance.groups),
            self.options.generation_count,
            evaluate,
            lambda one, other, draws: cross(genome, one, other, draws),
            lambda one, draws: mutate(genome, one, draws),
            int(rng.integers(2**31)),
            go_on,
        )
        front = list(dict.fromkeys(decode(genes)))
        evaluations = self.pool.evaluate([EvaluationRequest("fitness", one, multiplier, seed) for one in front])
        hopeful = sorted(range(len(front)), key=lambda n: -evaluations[n].value)[:_ELITE]
        return self._least([front[n] for n in hopeful])


def elite_of(found: list[Candidate]) -> tuple[Candidate, ...]:
    """Return the best schedules, few of each multiplier; of equal ones those by fixed priorities come first."""
    order = sorted(
        {one.schedule: one for one in found}.values(),
        key=lambda one: (one.multiplier, one.schedule.policy != "priority", one.schedule.late_binding),
    )
    kept: list[Candidate] = []
    for one in order:
        if sum(other.multiplier == one.multiplier for other in kept) < _ALIKE:
            kept.append(one)
    return tuple(kept[:_ELITE])


def _with_history(state: SearchState) -> SearchState:
    return replace(state, history=(*state.history, (state.round, state.best.multiplier)))
