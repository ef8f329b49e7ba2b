"""A recorded board's frequencies, from profile to run: measured, chosen for each slice, set, and restored.

The board's governors, clocks and counter of energy are simulated on the recorded files (``recorded_runtimes``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mosaic_onnx import api
from tests.cli.conftest import Mosaic
from tests.machine import recorded_runtimes
from tests.machine.conftest import Become
from tests.unit.profiling.obedient_backend import recorded_counter

DEADLINE_MS = 100
"""Of every plan: all clusters at their lowest frequency take more."""
RUN_COUNT = 5


@pytest.fixture
def board(become: Become) -> Path:
    """The phone board with a RAPL counter, which the simulated work raises."""
    root = become("phone")
    recorded_counter(root)
    return root


def limits(root: Path) -> dict[str, str]:
    """Return the text of every frequency limit of the board."""
    names = ("scaling_min_freq", "scaling_max_freq", "min_freq", "max_freq")
    return {
        str(path.relative_to(root)): path.read_text().strip()
        for name in names
        for path in sorted(root.rglob(name))
        if "/cpu4/" not in str(path)
    }


def compiled(mosaic: Mosaic, model: Path, name: str, *words: str) -> Path:
    """Compile for energy under the deadline."""
    bundle = model.with_name(name)
    options = ["--objective", "energy", "--deadline-ms", str(DEADLINE_MS), "--no-cache", "-o", str(bundle), *words]
    done = mosaic("compile", str(model), *options)
    assert done.exit_code == 0, done.stderr
    return bundle


def joules_of_run(bundle: Path) -> float:
    """Return the joules that one run of a bundle adds to the counter."""
    before = recorded_runtimes.read_joules()
    api.run(bundle, iterations=RUN_COUNT, warmup=0)
    return (recorded_runtimes.read_joules() - before) / RUN_COUNT


def set_governor(root: Path, name: str) -> None:
    for path in (*root.rglob("scaling_governor"), *root.rglob("devfreq/*/governor")):
        path.write_text(name)


def test_the_profile_holds_levels_joules_and_what_was_really_run(board: Path, model: Path, mosaic: Mosaic) -> None:
    before = limits(board)
    done = mosaic("profile", str(model), "--levels", "--json")
    assert done.exit_code == 0, done.stderr
    profile = done.json
    levels = {one["name"]: [level["name"] for level in one.get("levels", [])] for one in profile["devices"]}
    assert levels["cpu-big"] == ["682MHz", "1210MHz", "1863MHz", "2362MHz"]
    assert levels["webgpu"] == ["104MHz", "415MHz", "767MHz"]
    sources = {state: cost["source"] for state, cost in profile["layers"][0]["cost"].items() if cost}
    assert (sources["cpu-big@682MHz"], sources["cpu-big@1210MHz"]) == ("measured", "modelled")
    costs = [cost for layer in profile["layers"] for cost in layer["cost"].values() if cost]
    assert all(cost["joules"] > 0 for cost in costs)
    assert profile["meta"]["energy"]["meter"] == "rapl:package-0"
    assert profile["meta"]["frequency_hz"]["webgpu@104MHz"] == 104e6
    assert {one["device"] for one in profile["switches"]} == {"cpu-big", "cpu-little", "webgpu"}
    assert "cpu is measured at the frequency that its governor picks" in done.stderr
    assert limits(board) == before


def test_an_energy_plan_sets_a_frequency_for_each_slice_and_restores_them(
    board: Path, model: Path, mosaic: Mosaic
) -> None:
    before = limits(board)
    bundle = compiled(mosaic, model, "levels.mosaic", "--levels")
    plan = api.load_plan(bundle / "plan.json")
    assert all("@" in one.state for one in plan.slices)
    assert len({one.state for one in plan.slices}) > 1
    recorded_runtimes.RAN.clear()
    api.run(bundle, iterations=1, warmup=0)
    assert [f"{name}@{hertz / 1e6:.0f}MHz" for name, hertz in recorded_runtimes.RAN] == [
        one.state for one in plan.slices
    ]
    assert limits(board) == before


def test_a_killed_run_leaves_the_limits_as_they_were(board: Path, model: Path, mosaic: Mosaic) -> None:
    before = limits(board)
    bundle = compiled(mosaic, model, "levels.mosaic", "--levels")
    script = (
        "from tests.machine.recorded_runtimes import install; install()\n"
        f"from mosaic_onnx import api; api.run({str(bundle)!r}, iterations=10**9, warmup=0)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    await_limits(board, lambda now: now != before)
    process.send_signal(signal.SIGKILL)
    process.wait()
    await_limits(board, lambda now: now == before)


def await_limits(root: Path, holds: Callable[[dict[str, str]], bool]) -> None:
    """Wait until the limits are as wanted."""
    deadline = time.monotonic() + 30.0
    while not holds(limits(root)):
        assert time.monotonic() < deadline, limits(root)
        time.sleep(0.02)


@pytest.mark.parametrize("governor", ["performance", "ondemand"])
def test_the_energy_plan_takes_no_more_joules_than_the_governor(
    governor: str, board: Path, model: Path, mosaic: Mosaic
) -> None:
    chosen = joules_of_run(compiled(mosaic, model, "levels.mosaic", "--levels"))
    set_governor(board, governor)
    governed = joules_of_run(compiled(mosaic, model, "governed.mosaic"))
    assert 0 < chosen <= governed
