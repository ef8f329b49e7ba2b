"""``show``, ``explain`` and ``report`` of files, and the JSON Schemas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.plan_file import write_plan
from mosaic_onnx.files.profile_file import write_profile
from mosaic_onnx.planning.profile_plan import plan_profile
from tests.cli.conftest import Mosaic
from tests.unit.report.contents import profile


def written(made: Profile, folder: Path) -> None:
    write_profile(made, folder / "profile.json")
    write_plan(plan_profile(made), folder / "plan.json")


def test_show_tells_slices_transfers_and_what_could_run_instead(mosaic: Mosaic, tmp_path: Path) -> None:
    written(profile(), tmp_path)
    done = mosaic("show", "plan.json")
    assert done.exit_code == 0
    assert "transfers" in done.stderr
    assert "latency plan" in done.stdout
    assert mosaic("show", "plan.json", "--json").json["plan"] == json.loads((tmp_path / "plan.json").read_text())


def test_an_empty_table_is_a_sentence_instead(mosaic: Mosaic, tmp_path: Path) -> None:
    made = profile()
    on_cpu = tuple(replace(layer, cost={"cpu": layer.cost["cpu"]}, reasons={}) for layer in made.layers)
    written(replace(made, devices=made.devices[:1], copies=(), layers=on_cpu), tmp_path)
    assert "no transfers" in mosaic("show", "plan.json").stderr
    assert "no boundaries" in mosaic("explain", "profile.json", "plan.json").stderr


def test_explain_takes_a_profile_alone(mosaic: Mosaic, tmp_path: Path) -> None:
    written(profile(), tmp_path)
    assert "if gpu ran Resize" in mosaic("explain", "profile.json").stdout


def test_report_refuses_to_replace_a_file_and_says_how_to(mosaic: Mosaic, tmp_path: Path) -> None:
    pytest.importorskip("bokeh", reason="bokeh is not installed (extra report)")
    written(profile(), tmp_path)
    assert mosaic("report", "plan.json", "-o", "page.html").exit_code == 0
    again = mosaic("report", "plan.json", "-o", "page.html")
    assert again.exit_code == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize("kind", ["profile", "plan", "devices", "manifest", "scenario", "npu"])
def test_every_schema_is_printed(mosaic: Mosaic, kind: str) -> None:
    assert "properties" in mosaic("schema", kind).json


def test_an_unknown_schema_names_the_known_ones(mosaic: Mosaic) -> None:
    done = mosaic("schema", "nothing")
    assert done.exit_code == 2
    assert "devices" in done.stderr
