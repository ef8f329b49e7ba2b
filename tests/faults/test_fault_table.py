"""Wherever and however a device breaks: it is named, the exit code is right, the other device's plan is delivered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.files.bundle import read_bundle
from tests.faults.conftest import Done, Mosaic

CRASHES = ("raise", "exit", "segv", "hang", "memory")
WRONG = ("nan", "shape", "value")
PLACES = ("find", "supports", "load", "run", "close")
WAYS = [(place, how) for place in PLACES for how in (*CRASHES, *(WRONG if place == "run" else ()))]
QUICK = {
    ("find", "segv"),
    ("supports", "exit"),
    ("load", "raise"),
    ("run", "value"),
    ("close", "segv"),
}


def cells(ways: list[tuple[str, str]]) -> list[object]:
    """Cells of the table; those that are not quick run in ``make test-all``."""
    return [pytest.param(*way, marks=() if way in QUICK else pytest.mark.slow) for way in ways]


def strike(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setenv("FAULT", ":".join(words))


def is_blamed(done: Done) -> bool:
    """Tell whether a message names the device or its backend, beyond the list of who takes part."""
    lines = (line for line in done.stderr.splitlines() if not line.startswith("devices:"))
    return any("flaky" in line for line in lines)


@pytest.mark.parametrize("how", [pytest.param(how, marks=() if how == "segv" else pytest.mark.slow) for how in CRASHES])
def test_devices_names_the_backend_that_breaks_and_lists_the_others(
    mosaic: Mosaic, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    strike(monkeypatch, "find", how)
    done = mosaic("devices", "--json")
    assert done.exit_code == 0, done.stderr
    assert [device["name"] for device in json.loads(done.stdout)["devices"]] == ["cpu"]
    assert "asked for its" in " ".join(done.stderr.split())


@pytest.mark.parametrize(("place", "how"), cells(WAYS))
def test_profile_goes_on_without_what_the_device_cannot_do(
    mosaic: Mosaic, model: Path, monkeypatch: pytest.MonkeyPatch, place: str, how: str
) -> None:
    strike(monkeypatch, place, how)
    done = mosaic("profile", str(model), "--json")
    assert done.exit_code == 0, done.stderr
    reasons = [layer.get("reasons", {}) for layer in json.loads(done.stdout)["layers"]]
    assert is_blamed(done) or place == "close" or all("flaky" in each for each in reasons)
    cpu = [layer["cost"]["cpu"] for layer in json.loads(done.stdout)["layers"]]
    assert all(cost["seconds"] > 0 for cost in cpu)


@pytest.mark.parametrize(("place", "how"), cells(WAYS))
def test_compile_delivers_the_plan_of_the_other_device(
    mosaic: Mosaic, model: Path, monkeypatch: pytest.MonkeyPatch, place: str, how: str
) -> None:
    strike(monkeypatch, place, how)
    done = mosaic("compile", str(model), "-o", "out.mosaic")
    assert done.exit_code == 0, done.stderr
    assert is_blamed(done) or place == "close"
    plan = read_bundle("out.mosaic").plan
    if place != "close":
        assert {one.state for one in plan.slices} == {"cpu"}


PHASES = ("profile", "rehearsal", "contest", "timing", "proof")
LATE = [
    (phase, place, how)
    for phase in PHASES
    for place, how in WAYS
    if place in ("load", "run", "close") and not (phase in ("rehearsal", "timing") and place == "load")
]
"""Rehearsal and timing run what is loaded already, so that nothing breaks there while loading."""
QUICK_LATE = {("timing", "run", "raise"), ("proof", "load", "exit")}


@pytest.mark.parametrize(
    ("phase", "place", "how"),
    [pytest.param(*cell, marks=() if cell in QUICK_LATE else pytest.mark.slow) for cell in LATE],
)
def test_a_device_that_breaks_in_one_phase_of_compile_alone_loses_the_plan_to_the_other(
    mosaic: Mosaic, model: Path, monkeypatch: pytest.MonkeyPatch, phase: str, place: str, how: str
) -> None:
    strike(monkeypatch, place, how, phase)
    done = mosaic("compile", str(model), "-d", "flaky,slow", "-o", "out.mosaic")
    assert done.exit_code == 0, done.stderr
    used = {one.state for one in read_bundle("out.mosaic").plan.slices}
    if place == "close" or (how in WRONG and phase in ("rehearsal", "contest", "timing")):
        assert used <= {"flaky", "slow"}  # what it computes there is not looked at, and it may still be delivered
        return
    if phase == "rehearsal":  # a plan that cannot be rehearsed is still judged in the contest
        return
    assert used == {"slow"}
    assert is_blamed(done)


@pytest.fixture
def bundle(mosaic: Mosaic, model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bundle of one slice on the device that will break."""
    monkeypatch.delenv("FAULT", raising=False)
    done = mosaic("compile", str(model), "-d", "flaky", "-o", "flaky.mosaic")
    assert done.exit_code == 0, done.stderr
    return "flaky.mosaic"


RUNNING = [way for way in WAYS if way[0] in ("load", "run", "close")]


@pytest.mark.parametrize(("place", "how"), cells(RUNNING))
def test_verify_names_the_device_that_breaks(
    mosaic: Mosaic, bundle: str, monkeypatch: pytest.MonkeyPatch, place: str, how: str
) -> None:
    strike(monkeypatch, place, how)
    done = mosaic("verify", bundle)
    if place == "close":
        assert done.exit_code == 0, done.stderr
        return
    assert done.exit_code in ((4,) if how in WRONG else (4, 5)), done.stderr
    assert "flaky" in done.stderr


def test_a_failed_verification_prints_one_json_object(
    mosaic: Mosaic, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike(monkeypatch, "run", "value")
    done = mosaic("verify", bundle, "--json")
    assert done.exit_code == 4, done.stderr
    assert json.loads(done.stdout)["passed"] is False
    assert "flaky" in done.stderr


@pytest.mark.parametrize(("place", "how"), cells(RUNNING))
def test_bench_names_the_device_that_breaks(
    mosaic: Mosaic, bundle: str, monkeypatch: pytest.MonkeyPatch, place: str, how: str
) -> None:
    strike(monkeypatch, place, how)
    done = mosaic("bench", bundle, "--iterations", "3", "--warmup", "1")
    if place == "close" or how in WRONG:  # nobody looks at what is computed while it is timed
        assert done.exit_code in (0, 5), done.stderr
        return
    assert done.exit_code == 5, done.stderr
    assert "flaky" in done.stderr


# ---- production runs -------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle_of_two(mosaic: Mosaic, model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bundle of two slices, the second on the device that will break."""
    monkeypatch.delenv("FAULT", raising=False)
    words = ("-d", "cpu,flaky", "--pin", "a=cpu", "--pin", "b=flaky", "--granularity", "node", "-o", "two.mosaic")
    done = mosaic("compile", str(model), *words)
    assert done.exit_code == 0, done.stderr
    assert {one.state for one in read_bundle("two.mosaic").plan.slices} == {"cpu", "flaky"}
    return "two.mosaic"


def test_a_run_names_slice_and_device_that_raise(mosaic: Mosaic, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    strike(monkeypatch, "run", "raise")
    done = mosaic("run", bundle)
    assert done.exit_code == 5
    assert "slice 0 on flaky: RuntimeError: the driver says no" in done.stderr


def test_a_run_refuses_a_result_of_the_wrong_shape(
    mosaic: Mosaic, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike(monkeypatch, "run", "shape")
    done = mosaic("run", bundle)
    assert done.exit_code == 5
    assert "slice 0 on flaky: it made tensor y of shape [64, 2]" in done.stderr


@pytest.mark.parametrize("how", ["segv", "exit", pytest.param("hang", marks=pytest.mark.slow)])
def test_an_isolated_run_survives_the_device_and_falls_back(
    mosaic: Mosaic, bundle_of_two: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    sound = mosaic("run", bundle_of_two, "-o", "sound.npz")
    assert sound.exit_code == 0, sound.stderr
    strike(monkeypatch, "run", how)
    alone = mosaic("run", bundle_of_two, "--isolated", "--time-limit", "10")
    assert alone.exit_code == 5
    assert "flaky" in alone.stderr
    done = mosaic("run", bundle_of_two, "--isolated", "--time-limit", "10", "--fallback", "-o", "out.npz")
    assert done.exit_code == 0, done.stderr
    assert "cpu takes it over" in done.stderr
    with np.load("out.npz") as out, np.load("sound.npz") as expected:
        assert np.allclose(out["y"], expected["y"])


@pytest.mark.parametrize("how", ["nan", "huge"])
def test_validation_finds_what_no_sound_slice_makes_and_falls_back(
    mosaic: Mosaic, bundle_of_two: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    strike(monkeypatch, "run", how)
    assert mosaic("run", bundle_of_two).exit_code == 0
    done = mosaic("run", bundle_of_two, "--validate")
    assert done.exit_code == 5
    assert "flaky" in done.stderr
    assert ("not finite" if how == "nan" else "beyond") in done.stderr
    again = mosaic("run", bundle_of_two, "--validate", "--fallback")
    assert again.exit_code == 0, again.stderr
    assert "cpu takes it over" in again.stderr
