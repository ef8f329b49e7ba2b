"""A recorded board's frequencies, from profile to run: measured, chosen for each slice, set, and restored.

The board's governors, clocks and counter of energy are simulated on the recorded files (``recorded_runtimes``).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mosaic_onnx import api, cli
from tests.machine import recorded_runtimes
from tests.machine.conftest import made_this_machine, saved_model
from tests.unit.profiling.obedient_backend import recorded_counter

DEVICES = "cpu-big,cpu-little,webgpu"
ENERGY = ("--objective", "energy", "--deadline-ms", "100")
"""All clusters at their lowest frequency take more than this deadline."""
RUN_COUNT = 5


@dataclass(frozen=True)
class Board:
    """The recorded board after ``profile``, ``plan`` and ``compile`` with levels.

    Attributes:
        root: of its files.
        model: the model's file.
        limits: of all domains before anything was measured.
        profile: as its file has it.
        bundle: planned for energy.
    """

    root: Path
    model: Path
    limits: dict[str, str]
    profile: dict[str, Any]
    bundle: Path


def command(*words: object) -> None:
    """Run one command line."""
    assert cli.run([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """The phone board with a RAPL counter, which the simulated work raises."""
    folder = tmp_path_factory.mktemp("board")
    root, model, profile, plan = folder / "phone", saved_model(folder), folder / "profile.json", folder / "plan.json"
    with pytest.MonkeyPatch.context() as patch:
        made_this_machine("phone", root, patch)
        recorded_counter(root)
        before = limits(root)
        command("profile", model, "-d", DEVICES, "--levels", "--no-cache", "-o", profile)
        command("plan", profile, *ENERGY, "-o", plan)
        command("compile", model, "-d", DEVICES, "--levels", "--profile", profile, "--plan", plan)
        yield Board(root, model, before, json.loads(profile.read_text()), model.with_suffix(".mosaic"))


def limits(root: Path) -> dict[str, str]:
    """Return the text of every frequency limit of the board."""
    names = ("scaling_min_freq", "scaling_max_freq", "min_freq", "max_freq")
    return {str(path.relative_to(root)): path.read_text().strip() for name in names for path in root.rglob(name)}


def joules_of_run(bundle: Path) -> float:
    """Return the joules that one run of a bundle adds to the counter."""
    before_j = recorded_runtimes.read_joules()
    api.run(bundle, iterations=RUN_COUNT, warmup=0)
    return (recorded_runtimes.read_joules() - before_j) / RUN_COUNT


def test_the_profile_holds_the_levels_of_clusters_and_gpu(board: Board) -> None:
    levels = {one["name"]: [level["name"] for level in one["levels"]] for one in board.profile["devices"]}
    assert levels == {
        "cpu-big": ["682MHz", "1210MHz", "1863MHz", "2362MHz"],
        "cpu-little": ["533MHz", "999MHz", "1402MHz", "1844MHz"],
        "webgpu": ["104MHz", "415MHz", "767MHz"],
    }
    sources = {state: cost.get("source", "measured") for state, cost in board.profile["layers"][0]["cost"].items()}
    assert (sources["cpu-big@682MHz"], sources["cpu-big@1210MHz"]) == ("measured", "modelled")
    assert board.profile["meta"]["frequency_hz"]["webgpu@104MHz"] == 104e6
    assert {one["device"] for one in board.profile["switches"]} == {"cpu-big", "cpu-little", "webgpu"}


def test_the_profile_holds_the_joules_that_the_counter_shows(board: Board) -> None:
    costs = [cost for layer in board.profile["layers"] for cost in layer["cost"].values() if cost]
    assert all(cost["joules"] > 0 for cost in costs)
    assert board.profile["meta"]["energy"]["meter"] == "rapl:package-0"
    big = board.profile["layers"][0]["cost"]["cpu-big@2362MHz"]
    assert big["joules"] / big["seconds"] == pytest.approx(0.4 + 3.6, rel=0.01)


def test_the_energy_plan_sets_a_frequency_for_each_slice_and_restores_them(board: Board) -> None:
    plan = api.load_plan(board.bundle / "plan.json")
    states = [one.state for one in plan.slices]
    assert all("@" in state for state in states)
    assert len(set(states)) > 1
    recorded_runtimes.RAN.clear()
    api.run(board.bundle, iterations=1, warmup=0)
    assert [f"{name}@{hertz / 1e6:.0f}MHz" for name, hertz in recorded_runtimes.RAN] == states
    assert limits(board.root) == board.limits


def test_a_killed_run_leaves_the_limits_as_they_were(board: Board) -> None:
    script = (
        "from tests.machine.recorded_runtimes import install; install()\n"
        f"from mosaic_onnx import api; api.run({str(board.bundle)!r}, iterations=10**9, warmup=0)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    await_limits(board.root, lambda now: now != board.limits)
    process.send_signal(signal.SIGKILL)
    process.wait()
    await_limits(board.root, lambda now: now == board.limits)


def await_limits(root: Path, holds: Callable[[dict[str, str]], bool]) -> None:
    """Wait until the limits are as wanted."""
    deadline = time.monotonic() + 30.0
    while not holds(limits(root)):
        assert time.monotonic() < deadline, limits(root)
        time.sleep(0.02)


@pytest.mark.parametrize("governor", [pytest.param("performance", marks=pytest.mark.slow), "ondemand"])
def test_the_energy_plan_takes_no_more_joules_than_the_best_under_a_governor(governor: str, board: Board) -> None:
    chosen_j = joules_of_run(board.bundle)
    for path in (*board.root.rglob("scaling_governor"), *board.root.rglob("devfreq/*/governor")):
        path.write_text(governor)
    bundle = board.model.with_name(f"{governor}.mosaic")
    command("compile", board.model, "-d", DEVICES, *ENERGY, "--no-cache", "-o", bundle)
    assert all("@" not in one.state for one in api.load_plan(bundle / "plan.json").slices)
    assert 0 < chosen_j <= joules_of_run(bundle)
