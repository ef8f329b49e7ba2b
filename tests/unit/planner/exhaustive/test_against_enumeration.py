"""Small tables: the plan is the optimum of all plans, and proved; no plan is refused that exists.

The seeds here are a part; ``MOSAIC_PLANNER_INSTANCES=10000 pytest -m slow`` looks at so many requests a mode, from
the seed ``MOSAIC_PLANNER_FIRST`` on, so that several runs share the work.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, NoPlanFoundError
from mosaic_onnx.planner import registry
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.core.simulate import value
from mosaic_onnx.planner.sequential import method as sequential_method
from mosaic_onnx.planner.solve import solve
from tests.unit.planner.enumeration import Mode, Truth, random_request, truth
from tests.unit.planner.random_graphs import Kind, random_chain, random_profile

MODES: tuple[Mode, ...] = ("sequential", "concurrent", "throughput")
FEATURES = ("caps", "segments", "switches", "overheads", "io_host", "direct", "state_copies", "groups", "energy")
INSTANCES = int(os.environ.get("MOSAIC_PLANNER_INSTANCES", "0"))
FIRST_SEED = int(os.environ.get("MOSAIC_PLANNER_FIRST", "100000"))


def random_table(rng: np.random.Generator, most_layers: int) -> CostTable:
    """A table of 2 to ``most_layers`` layers and 1 to 3 states, each feature of the format in it or not by chance."""
    device_count = int(rng.integers(1, 4))
    kind = Kind(
        layers=int(rng.integers(2, most_layers + 1)),
        devices=device_count,
        levels=2 if device_count == 1 and rng.random() < 0.5 else 1,
        reach=int(rng.integers(1, 4)),
        **{feature: bool(rng.random() < 0.4) for feature in FEATURES},
    )
    table = cost_table((random_chain if rng.random() < 0.3 else random_profile)(rng, kind))
    if rng.random() < 0.2:
        table = replace(table, copies_occupy_device=True)
    if device_count > 1 and rng.random() < 0.2:
        table = replace(table, exclusive=((1,), (0,), *((),) * (device_count - 2)))
    if rng.random() < 0.3:
        errors = rng.integers(0, 10, table.layer_s.shape) / 10
        table = replace(table, layer_error=np.where(np.isfinite(table.layer_s), errors, 0.0))
    return with_shared_hardware(rng, with_limits_of_slices(rng, table))


def with_shared_hardware(rng: np.random.Generator, table: CostTable) -> CostTable:
    """The table, now and then with devices behind a link that copies queue for, and devices that slow each other."""
    count = len(table.device_names)
    if rng.random() < 0.2:
        remote = [device for device in range(count) if table.own_memory[device] and rng.random() < 0.7]
        ends = {(-1, device): 0 for device in remote} | {(device, -1): 0 for device in remote}
        ends |= {(a, b): 0 for a in range(count) for b in range(count) if (a in remote) != (b in remote)}
        table = replace(table, link_names=("host–far",), link_of=ends)
    if rng.random() < 0.2 and count > 1:
        factors = rng.choice([1.0, 1.5, 3.0], (count, count))
        table = replace(table, slowdown=tuple(tuple(row) for row in factors.tolist()))
    return table


def with_limits_of_slices(rng: np.random.Generator, table: CostTable) -> CostTable:
    """The table, now and then with limits on the slices of its devices and switches that depend on the layer."""
    if rng.random() < 0.2:
        limits = rng.choice([1.0, 2.0, float("inf")], len(table.device_names))
        table = replace(table, max_slice_count=limits)
    if rng.random() < 0.2:
        special = {}
        switch_s, switch_j = table.switch_s.copy(), table.switch_j.copy()
        for a, b in permutations(range(len(table.state_names)), 2):
            if table.state_device[a] == table.state_device[b] and rng.random() < 0.7:
                seconds, joules = rng.integers(0, 8, (2, len(table.layer_names))).astype(np.float64)
                special[a, b] = seconds, joules
                switch_s[a, b], switch_j[a, b] = seconds.min(), joules.min()
        table = replace(table, layer_switches=special, switch_s=switch_s, switch_j=switch_j)
    return table


def check(table: CostTable, known: Truth, request: Request) -> None:
    """The answer to a request is the enumerated optimum with a bound that says so, or a proof that there is none."""
    best = known.least(request)
    if best == float("inf"):
        with pytest.raises(InfeasibleError) as caught:
            solve(table, request)
        assert not isinstance(caught.value, NoPlanFoundError)
        return
    solution = solve(table, request)
    figure = value(solution.timeline, request.objective)
    assert figure == pytest.approx(best, rel=1e-9), request
    assert solution.plan.bound is not None
    assert solution.plan.bound.value == pytest.approx(best, rel=1e-9), request


def check_many(mode: Mode, count: int, most_layers: int, first_seed: int) -> None:
    """Look at so many requests."""
    checked, seed = 0, first_seed
    while checked < count:
        rng = np.random.default_rng(seed)
        seed += 1
        table = random_table(rng, most_layers)
        known = truth(table, 40_000)
        for _ in range(4 if known is not None else 0):
            assert known is not None
            request = random_request(rng, table, known, mode)
            try:
                check(table, known, request)
            except Exception as error:
                error.add_note(f"seed {seed - 1}: {request}")
                raise
            checked += 1


@pytest.mark.parametrize("mode", MODES)
def test_small_tables_get_the_enumerated_optimum(mode: Mode) -> None:
    check_many(mode, 160, 4, 0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_tables_of_seven_layers_get_the_enumerated_optimum(mode: Mode) -> None:
    check_many(mode, INSTANCES or 400, 7, FIRST_SEED)


@pytest.mark.parametrize("mode", MODES)
def test_without_the_whole_search_no_bound_and_no_refusal_is_false(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods for larger tables, on tables small enough to be enumerated: their proofs hold with every feature."""
    never = replace(registry.METHODS["exhaustive"], automatic=registry.never)
    monkeypatch.setitem(registry.METHODS, "exhaustive", never)  # type: ignore[arg-type]
    monkeypatch.setattr(sequential_method, "optimum_within", lambda *_: None)
    for seed in range(12):
        rng = np.random.default_rng(seed + 500)
        table = random_table(rng, 4)
        known = truth(table, 20_000)
        assert known is not None
        request = replace(random_request(rng, table, known, mode), time_limit_s=0.2)
        best = known.least(request)
        try:
            solution = solve(table, request)
        except NoPlanFoundError:
            continue
        except InfeasibleError as error:
            if best < float("inf"):
                pytest.fail(f"{request} is refused ({error.message}), a plan of {best} exists")
            continue
        assert not any("dropped a bound" in note for note in solution.notes)
        if solution.plan.bound is not None:
            assert solution.plan.bound.value <= best * (1 + 1e-9)
