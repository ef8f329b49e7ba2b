"""Concurrent plans: list scheduling, bounds, the solver; against brute force and the simulator."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner import registry
from mosaic_onnx.planner.concurrent import cpsat_method as solver_method
from mosaic_onnx.planner.concurrent.bound import concurrent_bound
from mosaic_onnx.planner.concurrent.cpsat_model import convex_sets
from mosaic_onnx.planner.concurrent.list_scheduling import Lister
from mosaic_onnx.planner.concurrent.method import heft
from mosaic_onnx.planner.concurrent.separators import gates, spans
from mosaic_onnx.planner.concurrent.span_search import by_spans
from mosaic_onnx.planner.concurrent.tasks import Tasks, chain_tasks, single_tasks
from mosaic_onnx.planner.core.orders import predecessors
from mosaic_onnx.planner.core.request import Answer, MethodUnavailable, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.search.merging import merge_harmless
from mosaic_onnx.planner.search.simulated_search import polish
from mosaic_onnx.planner.solve import solve
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_profile

ASKED = Request(schedule="concurrent", time_limit_s=5.0)
QUICK = Request(schedule="concurrent", time_limit_s=0.5)


def table_of(seed: int, kind: Kind) -> CostTable:
    return cost_table(random_profile(np.random.default_rng(seed), kind))


def best_seconds(table: CostTable, answer: Answer) -> float:
    """The simulator's word on the best of an answer's proposals."""
    found = [np.inf]
    for proposal in answer.proposals:
        try:
            found.append(simulate(table, proposal, "concurrent").seconds)
        except InfeasibleError:
            continue
    return min(found)


def orders(before: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """All topological orders."""

    def longer(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(order) == len(before):
            yield order
        for layer in range(len(before)):
            if layer not in order and all(maker in order for maker in before[layer]):
                yield from longer((*order, layer))

    return longer(())


def by_brute_force(table: CostTable, slices_matter: bool) -> float:
    """The least makespan over all orders, states and (where they matter) ways to cut slices."""
    layers, states = table.layer_s.shape
    best, seen = np.inf, set()
    cuts = list(itertools.product((False, True), repeat=layers - 1)) if slices_matter else [(True,) * (layers - 1)]
    for order in orders(predecessors(table)):
        for chosen in itertools.product(range(states), repeat=layers):
            for cut in cuts:
                if any(not here and a != b for here, a, b in zip(cut, chosen, chosen[1:], strict=False)):
                    continue
                proposal = cut_up(order, chosen, cut)
                key = tuple(
                    tuple(placed for placed in proposal if table.state_device[placed.state] == device)
                    for device in range(len(table.device_names))
                )
                if key not in seen:
                    seen.add(key)
                    best = min(best, best_seconds(table, Answer((proposal,))))
    return best


def cut_up(order: tuple[int, ...], states: tuple[int, ...], cut: tuple[bool, ...]) -> Proposal:
    placed = [PlacedSlice((order[0],), states[0])]
    for layer, state, here in zip(order[1:], states[1:], cut, strict=True):
        placed = (
            [*placed, PlacedSlice((layer,), state)]
            if here
            else [*placed[:-1], PlacedSlice((*placed[-1].layers, layer), state)]
        )
    return tuple(placed)


@pytest.mark.parametrize(
    ("kind", "slices_matter", "count"),
    [
        (Kind(5, 2), False, 25),
        (Kind(5, 2, direct=True, groups=True), False, 12),
        (Kind(3, 2, levels=2), False, 10),
        (Kind(4, 2, overheads=True, io_host=True), True, 10),
    ],
)
def test_the_solver_is_as_good_as_brute_force(kind: Kind, slices_matter: bool, count: int) -> None:
    pytest.importorskip("ortools", reason="the extra 'solver' is not installed")
    for seed in range(count):
        table = table_of(seed, kind)
        best = by_brute_force(table, slices_matter)
        answer = solver_method.concurrent_cpsat(table, ASKED)
        assert best_seconds(table, answer) == pytest.approx(best)
        assert answer.bound == pytest.approx(best, rel=1e-5)
        assert answer.bound <= best * (1 + 1e-9)


@pytest.mark.slow
def test_the_solver_is_exact_on_three_hundred_graphs_of_six_layers_and_two_devices() -> None:
    pytest.importorskip("ortools", reason="the extra 'solver' is not installed")
    for seed in range(300):
        table = table_of(seed, Kind(6, 2, direct=seed % 3 == 0, groups=seed % 5 == 0))
        best = by_brute_force(table, slices_matter=False)
        answer = solver_method.concurrent_cpsat(table, ASKED)
        assert best_seconds(table, answer) == pytest.approx(best)
        assert answer.bound == pytest.approx(best, rel=1e-5)


def test_a_bound_is_below_every_plan() -> None:
    for seed in range(60):
        table = table_of(seed, replace(EVERYTHING, layers=8, devices=3))
        bound, _ = concurrent_bound(table)
        rng = np.random.default_rng(seed)
        for _ in range(20):
            states = rng.integers(0, len(table.state_names), len(table.layer_names))
            proposal = tuple(PlacedSlice((layer,), int(state)) for layer, state in enumerate(states))
            try:
                timeline = simulate(table, proposal, "concurrent")
            except InfeasibleError:
                continue
            assert bound <= timeline.seconds * (1 + 1e-9)


@pytest.mark.parametrize("kind", [Kind(12, 3), replace(EVERYTHING, layers=7), Kind(10, 2, caps=True, overheads=True)])
def test_a_concurrent_plan_is_never_worse_than_the_sequential_one(kind: Kind) -> None:
    better = 0
    for seed in range(8):
        profile = random_profile(np.random.default_rng(seed), kind)
        table = cost_table(replace(profile, copies_occupy_device=seed % 2 == 0))
        try:
            sequential = solve(table, Request(time_limit_s=0.5))
        except InfeasibleError:
            continue
        answer = heft(table, replace(QUICK, time_limit_s=1.5))  # it makes sequential plans in a part of it
        seconds = best_seconds(table, answer)
        assert seconds <= sequential.plan.predicted.seconds * (1 + 1e-9)
        assert answer.bound is not None
        assert answer.bound <= seconds * (1 + 1e-9)
        better += seconds < sequential.plan.predicted.seconds * 0.99
    assert better > 0


def test_branches_run_side_by_side() -> None:
    table = wide_table()
    sequential = solve(table, Request(time_limit_s=1.0)).plan.predicted.seconds
    seconds = best_seconds(table, heft(table, QUICK))
    assert seconds < 0.75 * sequential


def wide_table() -> CostTable:
    """Modules of four branches, two devices of about the same speed, cheap copies."""
    from mosaic_onnx.core.devices import Device
    from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost

    rng = np.random.default_rng(7)
    layers, tensors, source = [], {"x": 1}, "x"

    def add(inputs: tuple[str, ...]) -> str:
        made = f"t{len(layers)}"
        cost = {"cpu": Cost(float(rng.uniform(1, 2))), "gpu": Cost(float(rng.uniform(1, 2)))}
        layers.append(ProfileLayer(f"l{len(layers)}", inputs, (made,), cost))
        tensors[made] = 1
        return made

    for _ in range(5):
        ends = []
        for length in (1, 2, 3, 2):
            end = source
            for _ in range(length):
                end = add((end,))
            ends.append(end)
        source = add(tuple(ends))
    copies = (TransferCost("host", "gpu", seconds=0.05), TransferCost("gpu", "host", seconds=0.05))
    devices = (Device("cpu"), Device("gpu"))
    return cost_table(Profile("wide", devices, tensors, ("x",), (source,), tuple(layers), copies))


@pytest.mark.parametrize("make", [single_tasks, chain_tasks])
def test_list_scheduling_reckons_as_the_simulator_does(make: type[Tasks]) -> None:
    reckoned = 0
    for seed in range(60):
        table = table_of(seed, Kind(10, 3, levels=2, groups=True, direct=True, overheads=True))
        tasks = make(table)
        lister = Lister(table, tasks)
        for schedule in (
            lister.schedule(lister.heft_priority()),
            lister.schedule(lister.fastest_priority(), outlook=lister.peft_outlook()),
        ):
            if schedule.seconds < np.inf:
                reckoned += 1
                timeline = simulate(table, schedule.proposal(tasks), "concurrent")
                assert schedule.seconds == pytest.approx(timeline.seconds)
    assert reckoned > 60


def test_a_model_falls_into_spans_at_its_gates() -> None:
    table = wide_table()
    found = gates(table)
    assert [len(table.layer_inputs[gate]) for gate in found] == [4] * 5
    parts = spans(table)
    assert sorted(layer for span in parts for layer in span.layers) == list(range(len(table.layer_names)))
    assert [span.begin for span in parts] == [None, *found[:-1]]
    assert [span.end for span in parts] == found


def test_a_plan_joined_from_spans_takes_as_long_as_was_reckoned() -> None:
    table = wide_table()
    joined = by_spans(table, 0, False, time.monotonic() + 1.0)
    assert joined is not None
    assert joined.proposal is not None
    assert simulate(table, joined.proposal, "concurrent").seconds == pytest.approx(joined.seconds)
    assert concurrent_bound(table)[0] <= joined.bound_s <= joined.seconds


def test_spans_are_solved_to_the_end() -> None:
    pytest.importorskip("ortools", reason="the extra 'solver' is not installed")
    table = wide_table()
    joined = by_spans(table, 0, True, time.monotonic() + 20.0)
    assert joined is not None
    assert joined.seconds == pytest.approx(joined.bound_s, rel=1e-5)


def test_bounds_of_spans_hold_for_every_plan() -> None:
    looked = 0
    for seed in range(40):
        table = table_of(seed, replace(EVERYTHING, layers=6, reach=1))
        joined = by_spans(table, 0, False, time.monotonic() + 0.1)
        if joined is None:
            continue
        rng = np.random.default_rng(seed)
        for _ in range(20):
            states = rng.integers(0, len(table.state_names), len(table.layer_names))
            proposal = tuple(PlacedSlice((layer,), int(state)) for layer, state in enumerate(states))
            seconds = best_seconds(table, Answer((proposal,)))
            looked += seconds < np.inf
            assert joined.bound_s <= seconds * (1 + 1e-9)
    assert looked > 100


def test_chains_hold_every_layer_once_and_are_convex() -> None:
    table = wide_table()
    tasks = chain_tasks(table)
    assert sorted(layer for layers in tasks.layers for layer in layers) == list(range(len(table.layer_names)))
    assert len(tasks.layers) == 5 * 5
    assert all(maker < task for task, makers in enumerate(tasks.before) for maker in makers)


def test_harmless_merging_keeps_the_makespan_and_leaves_fewer_slices() -> None:
    table = wide_table()
    tasks = single_tasks(table)
    lister = Lister(table, tasks)
    plan = lister.schedule(lister.heft_priority()).proposal(tasks)
    merged = merge_harmless(table, ASKED, plan)
    assert len(merged) < len(plan)
    before, after = (simulate(table, one, "concurrent").seconds for one in (plan, merged))
    assert after == pytest.approx(before)


def test_polishing_never_makes_a_plan_worse() -> None:
    helped = 0
    for seed in range(15):
        table = table_of(seed, EVERYTHING)
        start = tuple(PlacedSlice((layer,), 0) for layer in range(len(table.layer_names)))
        before = simulate(table, start, "concurrent").seconds
        after = simulate(table, polish(table, QUICK, start, time.monotonic() + 2.0), "concurrent").seconds
        assert after <= before
        helped += after < before
    assert helped > 10


def test_convex_sets_are_those_that_no_path_leaves_and_enters_again() -> None:
    for seed in range(10):
        table = table_of(seed, Kind(6, 2))
        before = predecessors(table)
        found = set(convex_sets(table))
        for size in range(1, 7):
            for layers in itertools.combinations(range(6), size):
                assert (layers in found) == is_convex(before, set(layers))


def is_convex(before: list[tuple[int, ...]], inside: set[int]) -> bool:
    """True where one slice can run these layers: what must come before them and what must come after do not meet."""
    below = set(inside)
    for layer in range(len(before)):
        if any(maker in below for maker in before[layer]):
            below.add(layer)
    outside_below = below - inside
    return not any(maker in outside_below for layer in inside for maker in before[layer])


def test_a_group_stays_on_one_device_and_a_cap_is_kept() -> None:
    for seed in range(12):
        table = table_of(seed, Kind(9, 3, groups=True, caps=True))
        try:
            solution = solve(table, QUICK)
        except InfeasibleError:
            continue
        devices = {
            int(table.state_device[placed.state])
            for placed in solution.proposal
            for layer in placed.layers
            if table.group[layer] >= 0
        }
        assert len(devices) <= 1


def test_energy_side_by_side_has_a_bound_below_the_plan() -> None:
    for seed in range(8):
        table = table_of(seed, replace(EVERYTHING, layers=6))
        for objective in ("energy", "edp"):
            try:
                solution = solve(table, replace(QUICK, objective=objective))
            except InfeasibleError:
                continue
            assert solution.plan.bound is not None
            assert not any("bug" in note for note in solution.notes)


def test_a_deadline_that_only_a_concurrent_plan_keeps_is_kept() -> None:
    table = wide_table()
    sequential = solve(table, Request(time_limit_s=1.0)).plan.predicted.seconds
    with pytest.raises(InfeasibleError):
        solve(table, Request(deadline_s=0.8 * sequential, time_limit_s=1.0))
    plan = solve(table, replace(QUICK, deadline_s=0.8 * sequential, time_limit_s=3.0)).plan
    assert plan.predicted.seconds <= 0.8 * sequential


def test_without_ortools_a_plan_is_still_found_and_the_notes_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("concurrent.cpsat_method", "concurrent.method", "throughput.method", "throughput.cpsat"):
        monkeypatch.setattr(f"mosaic_onnx.planner.{module}.available", lambda: False)
    table = wide_table()
    with pytest.raises(MethodUnavailable, match="solver"):
        solver_method.concurrent_cpsat(table, QUICK)
    solution = solve(table, replace(QUICK, time_limit_s=1.0))
    assert solution.plan.method == "heft"
    assert solution.plan.bound is not None
    assert any("concurrent-cpsat" in note for note in solution.notes)


@pytest.mark.parametrize(("limit_s", "expected"), [(0.9, "heft"), (1.0, "concurrent-cpsat")])
def test_the_solver_is_asked_where_it_has_a_second(limit_s: float, expected: str) -> None:
    request = replace(QUICK, time_limit_s=limit_s)
    methods = [name for name, method in registry.METHODS.items() if method.automatic(wide_table(), request)]
    assert methods == [expected]
