"""One scheduler's answer to a scenario, with its figures and the bound that no schedule can beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.scenarios.baselines import BASELINES
from mosaic_onnx.scenarios.bound import MultiplierBound, multiplier_bound
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.checkpoint import read_state, write_state
from mosaic_onnx.scenarios.search.genetic import Search, SearchOptions, SearchState
from mosaic_onnx.scenarios.search.pool import Pool, ProcessPool, RayPool
from mosaic_onnx.scenarios.simulation.figures import GroupFigures, group_figures
from mosaic_onnx.scenarios.simulation.multiplier import ScheduleEvaluator
from mosaic_onnx.scenarios.simulation.score import score

OURS = "ours"
SCHEDULERS = (OURS, *BASELINES)
"""Names that ``--scheduler`` takes."""


@dataclass(frozen=True)
class SchedulingOptions:
    """The options of scheduling a scenario.

    Attributes:
        scheduler: ``ours`` or a baseline.
        search: of ``ours``; its seed is that of the arrivals' jitter for every scheduler.
        worker_count: processes; None for one a core.
        ray: address of a Ray cluster; None for this machine's processes.
        checkpoint: file that the search's state is kept in after every round, and read from; None for none.
    """

    scheduler: str = OURS
    search: SearchOptions = field(default_factory=SearchOptions)
    worker_count: int | None = None
    ray: str | None = None
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Scheduled:
    """A schedule and what it reaches.

    Attributes:
        scheduler: who made it.
        seed: of all draws.
        schedule: what was decided.
        multiplier: α*, the least satisfied period multiplier.
        bound: no schedule is satisfied below it.
        score: at α*.
        groups: figures of each group at α*.
        baselines: α* of each baseline; of ``ours`` only.
        rounds: rounds of search.
    """

    scheduler: str
    seed: int
    schedule: Schedule
    multiplier: float
    bound: MultiplierBound
    score: float
    groups: tuple[GroupFigures, ...]
    baselines: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 0


def schedule_instance(
    instance: Instance, options: SchedulingOptions | None = None, note: Callable[[str], None] = lambda text: None
) -> Scheduled:
    """Schedule a scenario.

    Args:
        instance: the scenario with costs.
        options: by which scheduler, how long.
        note: told what could not be done.

    Raises:
        InfeasibleError: no schedule can run, or none is satisfied at any multiplier.
        UsageError: there is no such scheduler, or Ray is asked for and not installed.
        ModelError: the checkpoint is of another scenario.
    """
    options = options or SchedulingOptions()
    if options.scheduler not in SCHEDULERS:
        raise UsageError(f"there is no scheduler {options.scheduler!r}", f"one of: {', '.join(SCHEDULERS)}")
    bound = multiplier_bound(instance)
    seed = options.search.seed
    if options.scheduler != OURS:
        schedule = BASELINES[options.scheduler](instance)
        return _with_figures(instance, options.scheduler, seed, schedule, bound)
    state = _search(instance, bound, options, note)
    scheduled = _with_figures(instance, OURS, seed, state.best.schedule, bound, state.best.multiplier)
    return Scheduled(**vars(scheduled) | {"baselines": state.baselines, "rounds": state.round})


def judged_again(instance: Instance, scheduled: Scheduled, options: SchedulingOptions) -> Scheduled:
    """Return a schedule with its figures, and those of the baselines, under other costs of the same scenario.

    A baseline that is better under these costs takes the place of ours.
    """
    bound, seed = multiplier_bound(instance), options.search.seed
    ours = _with_figures(instance, scheduled.scheduler, seed, scheduled.schedule, bound)
    found: dict[str, Scheduled] = {}
    for name in scheduled.baselines:
        try:
            found[name] = _with_figures(instance, OURS, seed, BASELINES[name](instance), bound)
        except InfeasibleError:
            continue
    best = min((ours, *found.values()), key=lambda one: one.multiplier)
    baselines = {name: one.multiplier for name, one in found.items()}
    return replace(best, baselines=baselines, rounds=scheduled.rounds)


def _search(
    instance: Instance, bound: MultiplierBound, options: SchedulingOptions, note: Callable[[str], None]
) -> SearchState:
    seed, path = options.search.seed, options.checkpoint
    before = None if path is None else read_state(path, instance, seed)

    def keep(state: SearchState) -> None:
        if path is not None:
            write_state(path, instance, seed, state)

    with _pool(instance, options) as pool:
        search = Search(instance, bound, pool, options.search, note, keep)
        return search.run(before)


def _pool(instance: Instance, options: SchedulingOptions) -> Pool:
    if options.ray is not None:
        return RayPool(instance, options.ray)
    return ProcessPool(instance, options.worker_count)


def _with_figures(
    instance: Instance,
    scheduler: str,
    seed: int,
    schedule: Schedule,
    bound: MultiplierBound,
    multiplier: float | None = None,
) -> Scheduled:
    """Return the schedule with its figures at its least multiplier."""
    evaluator = ScheduleEvaluator(instance, schedule, seed)
    least = evaluator.least_multiplier(bound.value) if multiplier is None else multiplier
    run = evaluator.run(least)
    return Scheduled(
        scheduler=scheduler,
        seed=seed,
        schedule=schedule,
        multiplier=least,
        bound=bound,
        score=score(run, instance),
        groups=group_figures(run, instance),
    )
