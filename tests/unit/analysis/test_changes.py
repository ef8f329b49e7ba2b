"""Plans of supposed machines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mosaic_onnx.analysis.changes import AddedOperators, Faster, parse_changes
from mosaic_onnx.analysis.compare_changes import compare_changes
from mosaic_onnx.cli import run
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import MeasuredSlice
from mosaic_onnx.files.profile_file import write_profile
from mosaic_onnx.planner.core.request import Request
from tests.unit.analysis.test_explain import profile_with_gaps


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("gpu×2", Faster("gpu", 2.0)),
        ("gpu x 0.5", Faster("gpu", 0.5)),
        ("gpu*1e1", Faster("gpu", 10.0)),
        ("link×0.5", Faster("", 0.5, is_link=True)),
        ("link:gpu×3", Faster("gpu", 3.0, is_link=True)),
        ("gpu+Resize", AddedOperators("gpu", ("Resize",))),
        ("gpu+Resize+Pad", AddedOperators("gpu", ("Resize", "Pad"))),
    ],
)
def test_a_word_says_one_change(word: str, change: object) -> None:
    assert parse_changes(word, profile_with_gaps()) == (change,)


def test_commas_join_changes() -> None:
    assert len(parse_changes("gpu×2, link×2", profile_with_gaps())) == 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tpu×2", "names no device: 'tpu'"),
        ("tpu+Pad", "names no device: 'tpu'"),
        ("gpu×0", "above 0"),
        ("gpu", "is no change"),
        ("gpu+", "is no change"),
        ("gpu×fast", "is no change"),
        ("", "is no change"),
    ],
)
def test_a_word_that_says_none_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_changes(word, profile_with_gaps())


def test_a_faster_device_halves_its_layers_and_measured_slices_alone() -> None:
    profile = replace(profile_with_gaps(), segments=(MeasuredSlice(0, 1, "gpu", 0.003),))
    base, faster, same = compare_changes(profile, ["gpu×2", "gpu×1"], Request())
    assert base.plan is not None
    assert faster.plan is not None
    assert same.change == pytest.approx(0.0)
    assert faster.plan.predicted.seconds < base.plan.predicted.seconds
    assert faster.same_slices is not None
    assert faster.plan.predicted.seconds <= faster.same_slices


def test_a_slower_link_costs_what_the_copies_cost_again() -> None:
    base, slower, faster = compare_changes(profile_with_gaps(), ["link×0.5", "link:gpu×1e9"], Request())
    assert base.plan is not None
    assert slower.same_slices == pytest.approx(base.plan.predicted.seconds + 0.001 * len(base.plan.transfers))
    assert faster.same_slices == pytest.approx(base.plan.predicted.seconds - 0.001 * len(base.plan.transfers))


def test_a_device_that_learns_an_operator_runs_its_layers_at_the_ratio_of_the_others() -> None:
    base, more = compare_changes(profile_with_gaps(), ["gpu+Pad"], Request())
    assert base.plan is not None
    assert more.plan is not None
    assert more.change is not None
    assert more.change < 0
    assert "0.2 × its time in cpu" in more.assumed
    assert len(more.plan.slices) < len(base.plan.slices)


def test_constraints_hold_for_every_machine() -> None:
    demands = Constraints(forbids=((".", "gpu"),))
    base, faster = compare_changes(profile_with_gaps(), ["gpu×100"], Request(), demands)
    assert base.plan is not None
    assert faster.change == pytest.approx(0.0)


def test_a_change_of_nothing_is_refused() -> None:
    without = replace(profile_with_gaps(), copies=())
    with pytest.raises(UsageError, match="no copies"):
        compare_changes(without, ["link×2"], Request())
    with pytest.raises(UsageError, match="refuses no layer"):
        compare_changes(profile_with_gaps(), ["gpu+Conv"], Request())


def test_the_command_prints_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gaps.json"
    write_profile(profile_with_gaps(), file)
    assert run(["plan", str(file), "--what-if", "gpu×2", "--what-if", "gpu+Resize", "--json"]) == 0
    machines = json.loads(capsys.readouterr().out)["machines"]
    assert [one["change"] for one in machines] == ["", "gpu×2", "gpu+Resize"]
    assert machines[1]["relative_change"] < 0
    assert run(["plan", str(file), "--what-if", "gpu×2", "--pareto"]) == 2
