"""A reduced reproduction, and the parts that judge it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.reproduce import paper
from mosaic_onnx.reproduce.agreement import compare, printed_words, share, state_share, written
from mosaic_onnx.reproduce.findings import beaten_by
from mosaic_onnx.reproduce.run import Report, reproduce
from mosaic_onnx.reproduce.versions import Outcomes
from mosaic_onnx.zoo import WORKLOADS


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return reproduce(tmp_path_factory.mktemp("report"), quick=True)


def plan_of(text: str, layer_count: int) -> Plan:
    """``npu 1-10, big@2362MHz 11-18`` as a plan."""
    slices = []
    for part in text.split(", "):
        state, _, ends = part.partition(" ")
        first, _, last = ends.partition("-")
        slices.append(Slice(tuple(range(int(first) - 1, int(last))), state))
    assert slices[-1].layers[-1] == layer_count - 1
    return Plan("latency", "sequential", "", tuple(slices), (), Predicted(1.0, None, 1.0))


def test_a_reduced_reproduction_meets_its_bars_and_writes_its_files(report: Report) -> None:
    assert [each for each in report.verdicts if not each.met] == []
    assert set(report.files) == {"report.md", "outcomes.csv", "verdicts.json"}
    for name in report.files:
        assert (report.folder / name).stat().st_size > 100


def test_the_report_keeps_fitted_and_predicted_apart_and_claims_no_board(report: Report) -> None:
    text = (report.folder / "report.md").read_text(encoding="utf-8")
    assert text.index("## Fitted (in-sample)") < text.index("## Predicted")
    assert "Nothing here was measured on a HiKey 970" in text
    assert "**Reduced run**" in text
    assert "every fit of this form misses the NPU's figure" in text
    for figure in (
        "70.3",
        "86.1",
        "39.1",
        "29.2",
        "91.0",
        "80.5",
        "83.4",
        "36.6",
        "58.8",
        "9.2",
        "0.67",
        "4.3",
        "0.82",
    ):
        assert figure in text


def test_its_fields_are_json_and_say_what_was_found(report: Report) -> None:
    fields = json.loads(json.dumps(report.as_fields()))
    assert len(fields["reductions_predicted"]["latency"]) == 4
    assert 0 < fields["table_iii_share"] <= 100
    assert fields["notes"] == ["no plots: reduced run"]


def test_every_version_of_every_workload_is_in_the_table(report: Report) -> None:
    lines = (report.folder / "outcomes.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(report.findings.scope.workloads) * 3 * 13


def test_a_version_that_beats_mosaic_is_named(report: Report) -> None:
    outcomes = report.findings.outcomes
    key = ("vgg16", "latency", "TF-GPU-P")
    better = replace(outcomes.by_key[key], figure=1e-6)
    forged = Outcomes({**outcomes.by_key, key: better}, outcomes.workloads)  # type: ignore[dict-item]
    assert beaten_by(forged, ("latency",)) == ("vgg16, latency: TF-GPU-P",)
    assert beaten_by(outcomes, ("latency", "energy", "edp")) == ()


def test_estimators_of_noisy_measurements_are_near_but_not_exact(report: Report) -> None:
    for errors in (report.findings.errors, report.findings.bent_errors):
        sizes = [abs(each.error) for each in errors]
        assert max(sizes) < 0.05
        assert min(sizes) > 0
    assert all(each.worst_seconds_error > 0.001 for each in report.findings.level_errors)


def test_agreement_counts_layers_on_the_printed_device_and_level() -> None:
    plan = plan_of("npu 1-8, big@2362MHz 9-17, npu 18-18", 18)
    found = compare("mobilenet_v2_1.3", plan, paper.TABLE_III["MO-1.3"])
    assert (found.same_device, found.layers) == (9, 18)
    assert share([found]) == 50.0
    energy = plan_of("npu 1-4, little@509MHz 5-17, npu 18-18", 18)
    found = compare("mobilenet_v2_1.3", energy, paper.TABLE_IV["MO-1.3"])
    assert found.same_device == 4 + 2 + 8 + 1
    assert found.same_state == 4 + 2 + 3 + 3 + 1
    assert state_share([found]) == pytest.approx(100 * 13 / 18)


def test_agreement_can_leave_a_workload_out() -> None:
    right = compare("mobilenet_v2_1.3", plan_of("npu 1-8, gpu@767MHz 9-17, npu 18-18", 18), paper.TABLE_III["MO-1.3"])
    wrong = compare("vgg16", plan_of("little@509MHz 1-16", 16), paper.TABLE_III["VGG"])
    assert share([right, wrong]) == pytest.approx(100 * 18 / 34)
    assert share([right, wrong], without="vgg16") == 100.0


def test_plans_are_written_as_the_paper_prints_them() -> None:
    plan = plan_of("npu 1-8, gpu@767MHz 9-17, npu 18-18", 18)
    assert written(plan) == "N1 G9 N18" == printed_words(paper.TABLE_III["MO-1.3"])
    assert written(plan, levels=True) == "N1 G9^767MHz N18"


@pytest.mark.parametrize("table", [paper.TABLE_III, paper.TABLE_IV])
def test_printed_plans_fit_the_workloads_and_the_levels(table: dict[str, tuple[paper.Step, ...]]) -> None:
    counts = {row.code: row.layer_count for row in WORKLOADS.values()}
    for code, steps in table.items():
        assert len(paper.spread(steps, counts[code])) == counts[code]
        levels = {device: {level.name for level in levels} | {"", "960MHz"} for device, levels in paper.LEVELS.items()}
        assert all(step.level in levels[step.device] for step in steps)


@pytest.mark.slow
def test_the_whole_reproduction_meets_every_bar(tmp_path: Path) -> None:
    whole = reproduce(tmp_path)
    assert [each for each in whole.verdicts if not each.met] == []
    assert len(whole.verdicts) == 10
