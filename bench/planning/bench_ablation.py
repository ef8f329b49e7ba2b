"""The gain of each planner method and stage: planning without it, compared with planning with all.

Cases are the published operator graphs, zoo models on the HiKey 970's described devices, and seeded random profiles, a
few for every feature of the profile format. A stage counts as useful in a case where without it the plan is worse or
the proved bound is lower. Run ``python -m bench ablation --markdown FILE`` for the table in ``docs/planner.md``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import numpy as np

from bench.report import Row
from bench.workloads import SHARED
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.importers import import_profile
from mosaic_onnx.planner import registry
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.planner.core.simulate import value
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.reproduce.workloads import described_profile, layered
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_chain, random_profile

WORSE = 1e-6
"""Relative: a figure that differs by less is the same."""
PUBLISHED = (
    ("LayerGraphs/bert24_inference.json", "bert24"),
    ("LayerGraphs/resnet50_inference.json", "resnet50"),
    ("LayerGraphs/gnmt_inference.json", "gnmt"),
    ("OperatorGraphs/bert_l-3_inference.json", "bert_l-3"),
)


@dataclass(frozen=True)
class Case:
    """One planning task."""

    name: str
    table: CostTable
    request: Request


@dataclass(frozen=True)
class Outcome:
    """The result of planning: the objective's value (inf for no plan), the bound (0 for none), wall seconds."""

    figure: float
    bound: float
    wall_s: float


@dataclass(frozen=True)
class Stage:
    """A method or a part of one.

    Attributes:
        name: as the table shows it.
        kind: the cases that it takes part in: ``sequential``, ``limits``, ``concurrent``, ``throughput``, ``front`` or
            empty for all.
        targets: (dotted name, replacement) pairs that take it out.
        method: its name in the registry; empty for a part of a method.
    """

    name: str
    kind: str = ""
    targets: tuple[tuple[str, Callable[..., object]], ...] = ()
    method: str = ""


@dataclass
class Tally:
    """The gain of one stage over all cases."""

    case_count: int = 0
    plan_ratios: list[float] = field(default_factory=list)
    bound_ratios: list[float] = field(default_factory=list)
    lost_count: int = 0
    with_s: list[float] = field(default_factory=list)
    without_s: list[float] = field(default_factory=list)


def nothing(*_: object, **__: object) -> list[object]:
    return []


def none(*_: object, **__: object) -> None:
    return None


def second(_: object, proposal: object, *__: object, **___: object) -> object:
    return proposal


def third(_: object, __: object, proposal: object, *___: object, **____: object) -> object:
    return proposal


def same_table(table: CostTable, _: Request) -> tuple[CostTable, tuple[int, ...]]:
    return table, tuple(range(len(table.state_names)))


def never(*_: object, **__: object) -> bool:
    return False


def no_answer(*_: object, **__: object) -> Answer:
    return Answer(())


ROOM = "mosaic_onnx.planner."
STAGES = (
    *(Stage(f"method {name}", method=name) for name in registry.METHODS),
    Stage("dominated levels left out", "", ((ROOM + "solve.top_levels", same_table),)),
    Stage("whole search", "sequential", ((ROOM + "sequential.method.optimum_within", none),)),
    Stage("start: placements along their orders", "sequential", ((ROOM + "sequential.method.implied_plans", nothing),)),
    Stage("start: one pass over the layers", "sequential", ((ROOM + "sequential.method.quick_plans", nothing),)),
    Stage("start: devices filled in turn", "sequential", ((ROOM + "sequential.method.filled_plans", nothing),)),
    Stage("start: one slice a capped device", "sequential", ((ROOM + "sequential.method.capped_plans", nothing),)),
    Stage("caps: prices on bytes", "sequential", ((ROOM + "sequential.bounds.price_memory", none),)),
    Stage("start: orders cut into slices", "sequential", ((ROOM + "sequential.method.cut_plans", nothing),)),
    Stage("moves", "sequential", ((ROOM + "sequential.method.improve", second),)),
    Stage("placement by elimination", "sequential", ((ROOM + "placement.elimination.solve_placement", none),)),
    Stage("placement by minimum cut", "sequential", ((ROOM + "placement.mincut.solve_placement", none),)),
    Stage("limits: front of placements", "limits", ((ROOM + "sequential.bounds.close_placements", none),)),
    Stage("limits: integer program", "limits", ((ROOM + "sequential.bounds.close_program", none),)),
    Stage("seeds: plans of other objectives", "concurrent", ((ROOM + "concurrent.method.seed_plans", nothing),)),
    Stage(
        "spans between gates",
        "concurrent",
        ((ROOM + "concurrent.method.by_spans", none), (ROOM + "concurrent.cpsat_method.by_spans", none)),
    ),
    Stage(
        "critical-path search",
        "concurrent",
        ((ROOM + "concurrent.method.improve", lambda lister, schedule, *_: schedule),),
    ),
    Stage("simulated search", "concurrent", ((ROOM + "concurrent.method.polish", third),)),
    Stage("simulated search", "throughput", ((ROOM + "throughput.method.polish", third),)),
    Stage("prices on loads", "throughput", ((ROOM + "throughput.method.price_loads", none),)),
    Stage("start: pipeline", "throughput", ((ROOM + "throughput.method._pipeline", no_answer),)),
    Stage("moves of pieces", "throughput", ((ROOM + "throughput.method.improve", none),)),
    Stage(
        "all downward-closed sets", "throughput", ((ROOM + "throughput.pipeline._Search.through_all_ideals", never),)
    ),
    Stage("ideals near the cuts", "throughput", ((ROOM + "throughput.pipeline._Search.near_the_cuts", none),)),
)


def run(quick: bool) -> list[Row]:
    cases = list(all_cases(quick))
    tallies = {id(stage): Tally() for stage in STAGES}
    for case in cases:
        full = planned(case)
        for stage in STAGES:
            if takes_part(stage, case):
                note(tallies[id(stage)], full, planned(case, stage))
    rows = [Row("cases", len(cases), "", note="published graphs, zoo models on the HiKey 970, random ones by feature")]
    return rows + [row_of(stage, tallies[id(stage)]) for stage in STAGES if tallies[id(stage)].case_count]


def takes_part(stage: Stage, case: Case) -> bool:
    if stage.method:
        return registry.METHODS[stage.method].automatic(case.table, case.request)
    kind = kind_of(case.request)
    return stage.kind in ("", kind) or (stage.kind == "sequential" and kind == "limits")


def kind_of(request: Request) -> str:
    if request.pareto:
        return "front"
    if request.objective == "throughput":
        return "throughput"
    if request.schedule == "concurrent":
        return "concurrent"
    return "limits" if request.deadline_s is not None or request.budget_j is not None else "sequential"


def planned(case: Case, without: Stage | None = None) -> Outcome:
    """Plan a case, with one stage taken out."""
    with ExitStack() as stack:
        for name, replacement in without.targets if without else ():
            stack.enter_context(patch(name, replacement))
        if without and without.method:
            one = replace(registry.METHODS[without.method], automatic=registry.never)
            stack.enter_context(patch.dict(registry.METHODS, {without.method: one}))  # type: ignore[arg-type]
        began = time.perf_counter()
        try:
            solution = solve(case.table, case.request)
        except MosaicError:
            return Outcome(float("inf"), 0.0, time.perf_counter() - began)
        wall_s = time.perf_counter() - began
        bound = solution.plan.bound.value if solution.plan.bound else 0.0
        return Outcome(value(solution.timeline, case.request.objective), bound, wall_s)


def note(tally: Tally, full: Outcome, without: Outcome) -> None:
    tally.case_count += 1
    tally.with_s.append(full.wall_s)
    tally.without_s.append(without.wall_s)
    if without.figure == float("inf") and full.figure < float("inf"):
        tally.lost_count += 1
    elif full.figure < float("inf"):
        tally.plan_ratios.append(without.figure / full.figure if full.figure else 1.0)
    if full.bound:
        tally.bound_ratios.append(without.bound / full.bound)


def row_of(stage: Stage, tally: Tally) -> Row:
    worse = [ratio for ratio in tally.plan_ratios if ratio > 1 + WORSE]
    better = [ratio for ratio in tally.plan_ratios if ratio < 1 - WORSE]
    lower = [ratio for ratio in tally.bound_ratios if ratio < 1 - WORSE]
    seconds = statistics.fmean(tally.with_s) - statistics.fmean(tally.without_s)
    words = [f"of {tally.case_count} cases"]
    words += [f"no plan without it in {tally.lost_count}"] if tally.lost_count else []
    if worse:
        mean = statistics.fmean(worse)
        words.append(f"worse without it by up to {100 * (max(worse) - 1):.2g} %, mean {100 * (mean - 1):.2g} %")
    if better:
        words.append(f"better without it in {len(better)}, by up to {100 * (1 - min(better)):.2g} %")
    if lower:
        words.append(f"bound lower without it in {len(lower)}, by up to {100 * (1 - min(lower)):.2g} %")
    words.append(f"costs {1e3 * seconds:.3g} ms a plan")
    kind = f" ({stage.kind})" if stage.kind else ""
    return Row(stage.name + kind, len(worse) + tally.lost_count, "plans better", note="; ".join(words))


def all_cases(quick: bool) -> Iterator[Case]:
    """Yield every case: (published, zoo, random) x what can be asked."""
    limit_s = 0.5 if quick else 1.0
    yield from published_cases(limit_s, quick)
    yield from board_cases(limit_s, quick)
    yield from random_cases(limit_s, quick)


def asked(limit_s: float) -> dict[str, Request]:
    return {
        "latency": Request(time_limit_s=limit_s),
        "concurrent": Request(schedule="concurrent", time_limit_s=limit_s),
        "throughput": Request(objective="throughput", time_limit_s=limit_s),
    }


def with_energy(table: CostTable, limit_s: float) -> dict[str, Request]:
    """Return the requests that need joules; limits half-way between what the fastest and the most frugal plan take."""
    fast = solve(table, Request(time_limit_s=limit_s)).timeline
    frugal = solve(table, Request(objective="energy", time_limit_s=limit_s)).timeline
    deadline_s = (fast.seconds + frugal.seconds) / 2
    budget_j = ((fast.joules or 0.0) + (frugal.joules or 0.0)) / 2
    return {
        "energy": Request(objective="energy", time_limit_s=limit_s),
        "edp": Request(objective="edp", time_limit_s=limit_s),
        "deadline": Request(objective="energy", deadline_s=deadline_s, time_limit_s=limit_s),
        "budget": Request(budget_j=budget_j, time_limit_s=limit_s),
        "concurrent energy": Request(objective="energy", schedule="concurrent", time_limit_s=limit_s),
    }


def published_cases(limit_s: float, quick: bool) -> Iterator[Case]:
    folder = SHARED / "benchmarks" / "dnn-partitioning"
    for file, name in PUBLISHED[: 2 if quick else None]:
        for kind in ("latency", "throughput"):
            path = folder / f"{kind}-inputs" / file
            if not path.is_file():
                continue
            table = cost_table(import_profile("dnn-partitioning", path))
            for asked_for, request in asked(limit_s).items():
                if (asked_for == "throughput") == (kind == "throughput"):
                    yield Case(f"{name}, {asked_for}", table, request)


def board_cases(limit_s: float, quick: bool) -> Iterator[Case]:
    for name in ("squeezenet", "inception_v4")[: 1 if quick else 2]:
        table = cost_table(described_profile(layered(name), read_shipped("hikey970")))
        for asked_for, request in (asked(limit_s) | with_energy(table, limit_s)).items():
            yield Case(f"{name} on the HiKey 970, {asked_for}", table, request)


def random_cases(limit_s: float, quick: bool) -> Iterator[Case]:
    """Yield a graph for every feature of the profile format, and for some a chain."""
    base = Kind(layers=12, devices=3, levels=2, energy=True)
    features = ("caps", "segments", "switches", "overheads", "io_host", "direct", "state_copies", "groups")
    kinds = {"no feature": base, "every feature": replace(EVERYTHING, layers=12, devices=3)}
    kinds |= {} if quick else {name: replace(base, **{name: True}) for name in features}
    for seed, (name, kind) in enumerate(kinds.items()):
        for shape, draw in (("graph", random_profile), ("chain", random_chain))[: 1 + (seed % 3 == 1)]:
            table = cost_table(draw(np.random.default_rng(seed), kind))
            try:
                requests = asked(limit_s) | with_energy(table, limit_s)
            except MosaicError:
                continue
            for asked_for, request in requests.items():
                yield Case(f"{shape} with {name}, {asked_for}", table, request)
