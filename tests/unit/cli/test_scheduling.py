"""``mosaic-onnx schedule`` on profiles, with no device at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mosaic_onnx.cli import run
from mosaic_onnx.files.profile_file import write_profile
from tests.unit.scenarios.builders import chain_profile

FIELDS = ["schema", "scheduler", "seed", "period_multiplier", "bound", "score", "groups", "models", "priority", "meta"]


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    write_profile(chain_profile([(0.004, 0.002), (0.003, 0.006)], copy_s=0.0005), tmp_path / "one.profile.json")
    write_profile(chain_profile([(0.002, 0.004)], copy_s=0.0005), tmp_path / "two.profile.json")
    file = tmp_path / "scenario.toml"
    file.write_text(
        'schema = "mosaic-onnx/scenario/1"\naccelerator = "b"\n[[groups]]\nname = "camera"\nperiod_ms = 10\n'
        'models = [{ profile = "one.profile.json" }, { profile = "two.profile.json", name = "second" }]\n'
    )
    return file


@pytest.mark.parametrize("scheduler", ["ours", "npu-only", "best-mapping", "mosaic-each", "band", "edf"])
def test_every_scheduler_prints_the_schedule_form(
    scenario: Path, scheduler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["schedule", str(scenario), "--scheduler", scheduler, "--seed", "3", "--time-limit", "2", "--workers", "1"]
    assert run([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == FIELDS
    assert (said["schema"], said["scheduler"], said["seed"]) == ("mosaic-onnx/schedule/1", scheduler, 3)
    assert 0 < said["bound"]["value"] <= said["period_multiplier"]
    assert said["score"] >= 95
    assert said["groups"][0].keys() == {"name", "mean_makespan_s", "p90_makespan_s", "miss_share", "drop_share"}
    assert [(model["name"], model["group"]) for model in said["models"]] == [("one", "camera"), ("second", "camera")]
    assert sorted(said["priority"]) == ["camera/one", "camera/second"]
    for model, count in zip(said["models"], (2, 1), strict=True):
        assert sorted(layer for one in model["slices"] for layer in one["layers"]) == list(range(count))
        assert {one["state"] for one in model["slices"]} <= {"a", "b"}


def test_devices_that_profiles_cannot_use_are_refused(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schedule", str(scenario), "-d", "cpu", "--json"]) == 2
    assert "leave -d out" in json.loads(capsys.readouterr().out)["hint"]


def test_a_profile_cannot_become_a_site(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schedule", str(scenario), "-o", str(tmp_path / "site.mosaic"), "--json"]) == 2
    assert "cannot be run" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "site.mosaic").exists()


def test_an_unknown_accelerator_is_named(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(scenario.read_text().replace('"b"', '"npu"'))
    assert run(["schedule", str(scenario), "--json"]) == 2
    assert "'npu'" in json.loads(capsys.readouterr().out)["error"]


def test_a_search_goes_on_from_its_checkpoint(scenario: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    words = ["schedule", str(scenario), "--time-limit", "1", "--workers", "1", "--checkpoint", str(state), "-q"]
    assert run(words) == 0
    first = json.loads(state.read_text())["round"]
    assert run(words) == 0
    assert json.loads(state.read_text())["round"] >= first
