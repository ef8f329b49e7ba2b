"""The gain of each planner method and stage: planning without it, compared with planning with all.

Cases are the published operator graphs, zoo models on the HiKey 970's described devices, and seeded random profiles, a
few for every feature of the profile format. A stage counts as useful in a case where without it the plan is worse or
the proved bound is lower. Run ``python -m bench ablation --markdown FILE`` for the table in ``docs/planner.md``. Each
planning is kept (``bench.records``), so that a run that was stopped goes on from there; ``MOSAIC_BENCH_SECONDS`` says
for how long new cases are begun, which are taken by chance.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from unittest.mock import patch

import numpy as np

from bench.planning.bench_planner_scale import table_of
from bench.records import Records
from bench.report import Row
from bench.workloads import SHARED
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.importers import import_profile
from mosaic_onnx.planner import registry
from mosaic_onnx.planner.concurrent.tasks import single_tasks
from mosaic_onnx.planner.core.deadline import TimeUpError
from mosaic_onnx.planner.core.objective_weights import Weighed
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.planner.core.simulate import value
from mosaic_onnx.planner.placement.relax import Relaxed, cheapest_layers
from mosaic_onnx.planner.sequential.constrained_bounds import Closed
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.reproduce.workloads import described_profile, layered
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_chain, random_profile

LIMIT_S, LARGE_LIMIT_S, QUICK_LIMIT_S = 0.3, 1.5, 0.25
"""Seconds of CPU that a planning may take, so that load changes little: up to 100 layers, above, in quick runs."""
WORSE = 1e-6
"""Relative: a figure that differs by less is the same."""
PUBLISHED = (
    ("LayerGraphs/resnet50_inference.json", "resnet50"),
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
    """The result of planning: the objective's value (inf for no plan), the bound (0 for none), seconds of CPU."""

    figure: float
    bound: float
    cpu_s: float


@dataclass(frozen=True)
class Stage:
    """A method or a part of one.

    Attributes:
        name: as the table shows it.
        kind: the cases that it takes part in: ``sequential``, ``limits``, ``concurrent``, ``throughput``, ``refine`` or
            empty for all.
        targets: (dotted name, replacement) pairs that take it out.
        method: its name in the registry; empty for a part of a method.
    """

    name: str
    kind: str = ""
    targets: tuple[tuple[str, object], ...] = ()
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


def never(*_: object, **__: object) -> bool:
    return False


def zero(*_: object, **__: object) -> float:
    return 0.0


def second(_: object, given: object, *__: object, **___: object) -> object:
    return given


def third(_: object, __: object, given: object, *___: object, **____: object) -> object:
    return given


def same_table(table: CostTable, _: Request) -> tuple[CostTable, tuple[int, ...]]:
    return table, tuple(range(len(table.state_names)))


def no_answer(*_: object, **__: object) -> Answer:
    return Answer(())


def time_up(*_: object, **__: object) -> None:
    raise TimeUpError


def file_order(table: CostTable, *_: object, **__: object) -> tuple[int, ...]:
    return tuple(range(len(table.layer_names)))


def cheapest_within(table: CostTable, criteria: Sequence[Weighed], *_: object, **__: object) -> Relaxed:
    return cheapest_layers(table, criteria[0])


def not_closed(*_: object, **__: object) -> Closed:
    return Closed(0.0, "")


ROOM = "mosaic_onnx.planner."


def part(name: str, kind: str, *targets: tuple[str, object]) -> Stage:
    """Return the stage of one part, taken out by replacing functions of the planner's modules."""
    return Stage(name, kind, tuple((ROOM + dotted, replacement) for dotted, replacement in targets))


WITHOUT_SOLVER = {
    "concurrent-cpsat": ((ROOM + "concurrent.method.available", never),),
    "throughput-cpsat": ((ROOM + "throughput.method.available", never),),
}
"""Replacements that let the methods without a solver stand in for those with one."""
STAGES = (
    *(Stage(f"method {name}", method=name, targets=WITHOUT_SOLVER.get(name, ())) for name in registry.METHODS),
    part("nothing (what chance and load do)", ""),
    part("dominated levels left out", "", ("solve.top_levels", same_table)),
    part("whole search", "sequential", ("sequential.method.optimum_within", none)),
    part("start: placements along their orders", "sequential", ("sequential.method.implied_plans", nothing)),
    part("start: one pass over the layers", "sequential", ("sequential.method.quick_plans", nothing)),
    part("start: devices filled along orders", "sequential", ("sequential.method.filled_plans", nothing)),
    part("start: one slice a capped device", "sequential", ("sequential.method.capped_plans", nothing)),
    part("start: orders cut into slices", "sequential", ("sequential.method.cut_plans", nothing)),
    part("orders cut: the bound's prices on bytes", "sequential", ("sequential.order_cuts.with_prices", second)),
    part("orders cut: a growing price on bytes", "sequential", ("sequential.order_cuts._within_memory", nothing)),
    part("orders cut: slices spread over devices", "sequential", ("sequential.order_cuts.spread", second)),
    part("orders: depth first", "", ("core.orders.depth_first_order", file_order)),
    part("orders: few live bytes", "", ("core.orders.min_frontier_order", file_order)),
    part("chains: their own interval program", "", ("chain.method.is_chain", never)),
    part("moves", "sequential", ("sequential.method.improve", second)),
    part("moves: another state", "sequential", ("search.moves._Walk._state_changes", nothing)),
    part("moves: neighbours merged", "sequential", ("search.moves._Walk._merges", nothing)),
    part("moves: a border shifted", "sequential", ("search.moves._Walk._shifts", nothing)),
    part("moves: a slice split", "sequential", ("search.moves._Walk._splits", nothing)),
    part("moves: a layer elsewhere", "sequential", ("search.moves._Walk._layer_moves", nothing)),
    part("placement by elimination", "sequential", ("placement.elimination.solve_placement", none)),
    part("placement by elimination over all levels", "sequential", ("placement.relax._all_levels", none)),
    part("caps: prices on bytes", "sequential", ("sequential.bounds.price_memory", none)),
    part("caps: placements repaired", "sequential", ("placement.memory_prices.Repair.run", none)),
    part("caps: integer program", "sequential", ("sequential.bounds.relax_within", cheapest_within)),
    part("limits: plans best at what is limited", "limits", ("sequential.method._best_at_limits", nothing)),
    part("limits: front along a chain", "limits", ("sequential.bounds.close_chain", not_closed)),
    part("limits: front of placements", "limits", ("sequential.bounds.close_placements", none)),
    part("limits: integer program", "limits", ("sequential.bounds.close_program", none)),
    part("slices at a price", "refine", ("refine._priced", nothing)),
    part("slices merged to keep a limit", "refine", ("refine._merged", nothing)),
    part("simulated search", "refine", ("refine.polish", third)),
    part("seeds: plans of other objectives", "concurrent", ("concurrent.method.seed_plans", nothing)),
    part("seeds: plans for throughput", "concurrent", ("concurrent.method.throughput", no_answer)),
    part("seeds: one slice a capped device", "concurrent", ("concurrent.method.capped_plans", nothing)),
    part(
        "spans between gates",
        "concurrent",
        ("concurrent.method.by_spans", none),
        ("concurrent.cpsat_method.by_spans", none),
    ),
    part("list scheduling of rows of layers", "concurrent", ("concurrent.method.chain_tasks", single_tasks)),
    part(
        "list scheduling by outlook (PEFT)", "concurrent", ("concurrent.list_scheduling.Lister.peft_outlook", time_up)
    ),
    part("critical-path search", "concurrent", ("concurrent.method.improve", second)),
    part("slices merged where nothing starts later", "concurrent", ("concurrent.method.merge_harmless", third)),
    part("simulated search", "concurrent", ("concurrent.method.polish", third)),
    part("bound by area", "concurrent", ("concurrent.bound.fractional_area", zero)),
    part("bound by the critical path", "concurrent", ("concurrent.bound.critical_path_s", zero)),
    part("bound by area", "throughput", ("throughput.method.fractional_area", zero)),
    part("simulated search", "throughput", ("throughput.method.polish", third)),
    part("prices on loads", "throughput", ("throughput.method.price_loads", none)),
    part("start: pipeline", "throughput", ("throughput.method._pipeline", no_answer)),
    part("moves of pieces", "throughput", ("throughput.method.improve", none)),
    part("idle layers joined into units", "throughput", ("throughput.units._join_idle", none)),
    part("all downward-closed sets", "throughput", ("throughput.pipeline._Search.through_all_ideals", never)),
    part("ideals near the cuts", "throughput", ("throughput.pipeline._Search.near_the_cuts", none)),
)


def run(quick: bool) -> list[Row]:
    limit_s, large_limit_s = (QUICK_LIMIT_S, QUICK_LIMIT_S) if quick else (LIMIT_S, LARGE_LIMIT_S)
    until_s = time.monotonic() + float(os.environ.get("MOSAIC_BENCH_SECONDS", "inf"))
    records = Records.of("ablation", quick=quick)
    tallies = {id(stage): Tally() for stage in STAGES}
    cases = list(all_cases(records, limit_s, large_limit_s, quick))
    random.Random(0).shuffle(cases)  # a run that is not whole is a sample of all
    done = 0
    for case in cases:
        stages = [stage for stage in STAGES if takes_part(stage, case)]
        known = records.known()
        if time.monotonic() > until_s and any(key_of(case, stage) not in known for stage in (None, *stages)):
            continue
        done += 1
        full = outcome(records, case)
        for stage in stages:
            note(tallies[id(stage)], full, outcome(records, case, stage))
    words = "published graphs, zoo models on the HiKey 970, random ones by feature, 100 and 1,000 layers under caps"
    limits = f"limit {limit_s:g} s of CPU a plan, {large_limit_s:g} s for published graphs and 1,000 layers"
    rows = [Row("cases", done, f"of {len(cases)}", note=f"{words}; {limits}")]
    return rows + [row_of(stage, tallies[id(stage)]) for stage in STAGES if tallies[id(stage)].case_count]


def key_of(case: Case, without: Stage | None) -> str:
    return f"{case.name} | {f'{without.kind}: {without.name}' if without else 'all'}"


def outcome(records: Records, case: Case, without: Stage | None = None) -> Outcome:
    """Return the recorded outcome of a case, or plan it now."""
    return Outcome(**records.once(key_of(case, without), lambda: asdict(planned(case, without))))


def takes_part(stage: Stage, case: Case) -> bool:
    if stage.method:
        return registry.METHODS[stage.method].automatic(case.table, case.request)
    kind = kind_of(case.request)
    if stage.kind == "refine":
        return case.request.max_slice_count is not None
    return stage.kind in ("", kind) or (stage.kind == "sequential" and kind == "limits")


def kind_of(request: Request) -> str:
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
            stack.enter_context(patch.dict(registry.METHODS, {without.method: one}))
        stack.enter_context(patch("time.monotonic", time.process_time))  # limits count what the planner itself got
        began = time.process_time()
        try:
            solution = solve(case.table, case.request)
        except MosaicError:
            return Outcome(float("inf"), 0.0, time.process_time() - began)
        cpu_s = time.process_time() - began
        bound = solution.plan.bound.value if solution.plan.bound else 0.0
        return Outcome(value(solution.timeline, case.request.objective), bound, cpu_s)


def note(tally: Tally, full: Outcome, without: Outcome) -> None:
    tally.case_count += 1
    tally.with_s.append(full.cpu_s)
    tally.without_s.append(without.cpu_s)
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


def all_cases(records: Records, limit_s: float, large_limit_s: float, quick: bool) -> Iterator[Case]:
    """Yield every case: (published, zoo, random, large under caps) x what can be asked."""
    yield from published_cases(large_limit_s, quick)
    yield from board_cases(records, limit_s, quick)
    yield from random_cases(records, limit_s, quick)
    yield from two_state_cases(limit_s)
    for layers, most_s in ((100, limit_s), (1_000, large_limit_s))[: 1 if quick else None]:
        yield from cases_of(f"{layers} layers under caps", table_of(layers, capped=True), asked(most_s))


def two_state_cases(limit_s: float) -> Iterator[Case]:
    """Yield a graph that is too wide for elimination, on two devices of one level: what a minimum cut is for."""
    kind = Kind(layers=100, devices=2, energy=True, reach=25)
    table = cost_table(random_profile(np.random.default_rng(1), kind))
    yield from cases_of("wide graph on two devices", table, asked(limit_s))


def cases_of(name: str, table: CostTable, requests: Mapping[str, Request]) -> Iterator[Case]:
    for asked_for, request in requests.items():
        yield Case(f"{name}, {asked_for}", table, request)


def asked(limit_s: float) -> dict[str, Request]:
    return {
        "latency": Request(time_limit_s=limit_s),
        "concurrent": Request(schedule="concurrent", time_limit_s=limit_s),
        "throughput": Request(objective="throughput", time_limit_s=limit_s),
    }


def asked_with_energy(records: Records, name: str, table: CostTable, limit_s: float) -> dict[str, Request]:
    """Return all requests; limits lie half-way between what the fastest and the most frugal plan take.

    Raises:
        MosaicError: no plan was found.
    """

    def halfway() -> dict[str, float]:
        fast = solve(table, Request(time_limit_s=limit_s)).timeline
        frugal = solve(table, Request(objective="energy", time_limit_s=limit_s)).timeline
        return {
            "deadline_s": (fast.seconds + frugal.seconds) / 2,
            "budget_j": ((fast.joules or 0.0) + (frugal.joules or 0.0)) / 2,
        }

    limits = records.once(f"{name} | limits", halfway)
    return asked(limit_s) | {
        "energy": Request(objective="energy", time_limit_s=limit_s),
        "edp": Request(objective="edp", time_limit_s=limit_s),
        "deadline": Request(objective="energy", deadline_s=limits["deadline_s"], time_limit_s=limit_s),
        "budget": Request(budget_j=limits["budget_j"], time_limit_s=limit_s),
        "one slice a device": Request(one_slice_per_device=True, time_limit_s=limit_s),
        "three slices": Request(max_slice_count=3, time_limit_s=limit_s),
        "concurrent energy": Request(objective="energy", schedule="concurrent", time_limit_s=limit_s),
    }


def published_cases(limit_s: float, quick: bool) -> Iterator[Case]:
    folder = SHARED / "benchmarks" / "dnn-partitioning"
    for file, name in PUBLISHED[: 1 if quick else None]:
        for kind in ("latency", "throughput"):
            path = folder / f"{kind}-inputs" / file
            if not path.is_file():
                continue
            requests = asked(limit_s)
            fitting = {one: requests[one] for one in requests if (one == "throughput") == (kind == "throughput")}
            yield from cases_of(name, cost_table(import_profile("dnn-partitioning", path)), fitting)


def board_cases(records: Records, limit_s: float, quick: bool) -> Iterator[Case]:
    for model in ("squeezenet", "inception_v4")[: 1 if quick else 2]:
        table = cost_table(described_profile(layered(model), read_shipped("hikey970")))
        name = f"{model} on the HiKey 970"
        yield from cases_of(name, table, asked_with_energy(records, name, table, limit_s))


def random_cases(records: Records, limit_s: float, quick: bool) -> Iterator[Case]:
    """Yield a graph for every feature of the profile format, and for some a chain."""
    base = Kind(layers=24, devices=3, levels=2, energy=True)
    features = ("caps", "segments", "switches", "overheads", "io_host", "direct", "state_copies", "groups")
    kinds = {"no feature": base, "every feature": replace(EVERYTHING, layers=24, devices=3)}
    kinds |= {} if quick else {name: replace(base, **{name: True}) for name in features}
    for seed, (feature, kind) in enumerate(kinds.items()):
        for shape, draw in (("graph", random_profile), ("chain", random_chain))[: 1 + (seed % 3 == 1)]:
            table = cost_table(draw(np.random.default_rng(seed), kind))
            name = f"{shape} with {feature}"
            try:
                requests = asked_with_energy(records, name, table, limit_s)
            except MosaicError:
                continue
            yield from cases_of(name, table, requests)
