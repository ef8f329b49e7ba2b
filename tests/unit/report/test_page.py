"""The page holds the plan's figures, asks for nothing from the network, and takes hostile names as text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.plan_file import plan_to_fields, write_plan
from mosaic_onnx.files.profile_file import write_profile
from mosaic_onnx.report.figures.layer_costs import states_shown
from mosaic_onnx.report.figures.memory import memory_by_device
from mosaic_onnx.report.figures.timeline import measured_bars, predicted_bars
from mosaic_onnx.report.gather import read_subject
from mosaic_onnx.report.tables import gain_rows
from mosaic_onnx.report.why import reasons_of
from tests.unit.report.contents import HOSTILE, content, profile

pytest.importorskip("bokeh", reason="bokeh is not installed (extra report)")


def page(**options: bool | str) -> str:
    from mosaic_onnx.report.page import page_of

    return page_of(content(**options))


def json_in(text: str, name: str) -> object:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_the_plan_and_shows_its_figures() -> None:
    text, plan = page(), content().plan
    assert json_in(text, "plan-json") == json.loads(json.dumps(plan_to_fields(plan)))
    assert f"{plan.predicted.seconds * 1e3:.3g} ms" in text
    for transfer in plan.transfers:
        assert f"{transfer.source} → {transfer.destination}" in text


def test_the_page_names_no_address_to_load_anything_from() -> None:
    head = page().split("<script>")[0]
    assert re.findall(r'(?:src|href)="(?!data:)', head) == []
    assert "default-src 'none'" in head


def test_a_name_from_a_model_cannot_become_markup() -> None:
    text = page(name=HOSTILE, second_name=HOSTILE)
    assert HOSTILE not in text
    assert json_in(text, "reasons-json")[1]["name"] == HOSTILE  # type: ignore[index]


def test_the_timelines_hold_the_plans_and_the_runs_spans() -> None:
    made = content()
    slices = [bar for bar in predicted_bars(made) if bar.lane != "transfers"]
    assert [(bar.start_s, bar.end_s) for bar in slices] == [(one.start_s, one.end_s) for one in made.plan.slices]
    assert [bar.lane for bar in measured_bars(made)] == ["cpu", "transfers"]


def test_memory_counts_all_weights_of_a_device_and_its_cap() -> None:
    made = content()
    found = {one.device: one for one in memory_by_device(made)}
    on_gpu = sum(len(one.layers) for one in made.plan.slices if one.state == "gpu")
    assert found["gpu"].parameter_bytes == 2_000_000 * on_gpu
    assert found["gpu"].cap_bytes == 50_000_000


def test_a_layers_reasons_say_what_it_costs_elsewhere_and_why_it_cannot_run_there() -> None:
    head = reasons_of(content())[4]
    assert ["gpu", "–", "cannot: Resize is not supported"] in head["states"]  # type: ignore[operator]


def test_what_would_help_names_the_missing_operator() -> None:
    assert any(wish.startswith("gpu ran Resize (head)") for wish, _, _ in gain_rows(content()))


def test_without_joules_the_page_says_why_there_is_no_front() -> None:
    made = content(joules=False)
    assert made.front == ()
    assert made.notes == ("The profile has no joules, so there is no front of latency and energy.",)


def test_every_device_has_a_state_among_the_layers_costs() -> None:
    assert states_shown(content()) == ["cpu", "gpu"]


def test_a_plans_profile_is_taken_from_beside_it_or_asked_for(tmp_path: Path) -> None:
    made = content()
    write_plan(made.plan, tmp_path / "plan.json")
    with pytest.raises(UsageError, match="its profile is not beside it"):
        read_subject(tmp_path / "plan.json")
    write_profile(profile(), tmp_path / "profile.json")
    assert read_subject(tmp_path / "plan.json").profile.model_name == "small.onnx"


def test_a_model_is_refused_with_the_way_to_a_plan(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x09\xff\x00")
    with pytest.raises(ModelError, match="is a model"):
        read_subject(tmp_path / "a.onnx")
