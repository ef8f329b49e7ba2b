"""The pipelines: their order holds, their options are the API's and the command line's, and cuts are cuts."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.options import declared
from mosaic_onnx.passes.base import Passes, check_order, missing
from mosaic_onnx.passes.editing import every
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.options import CompileOptions, InspectOptions, ProfileOptions
from mosaic_onnx.pipeline.pipelines import COMPILE, INSPECT, PLAN, PREPARE, PROFILE, VERIFY, within_budget
from mosaic_onnx.planner.core.request import Request

GIVEN = ("path", "selection")
EVERY = {"compile": COMPILE, "budget": within_budget(COMPILE), "inspect": INSPECT, "profile": PROFILE}


def names(passes: Passes) -> list[str]:
    return [one.name for one in passes]


def options_of(passes: Passes) -> set[str]:
    """Fields that a user sets: declared ones, and those whose own fields are."""
    found = set()
    for one in every(passes):
        for each in fields(one) if is_dataclass(one) else ():
            inner: Any = each.default_factory
            made = isinstance(inner, type) and is_dataclass(inner) and any(declared(field) for field in fields(inner))
            if declared(each) or made:
                found.add(each.name)
    return found


def test_the_compiler_shows_its_steps_in_this_order() -> None:
    steps = ["load", "normalise", "layerize", "annotate", "profile", "estimate", "plan", "rewrite", "select", "verify"]
    assert [one.name for one in every(COMPILE) if one.name in steps] == steps


@pytest.mark.parametrize("name", EVERY)
def test_every_pass_finds_what_it_requires(name: str) -> None:
    assert set(missing(EVERY[name])) <= {*GIVEN, "budget", "refused", "wanted"}
    selection: Any = object()
    check_order(EVERY[name], State(path=Path("model.onnx"), selection=selection))


def test_commands_are_the_compiler_cut_where_they_end() -> None:
    for cut, last in ((PREPARE, "layerize"), (PROFILE, "profile")):
        assert names(cut) == names(COMPILE)[: names(COMPILE).index(last) + 1]
    assert names(VERIFY) == ["verify"]
    assert names(INSPECT) == ["load", "normalise", "layerize", "annotate"]
    assert missing(PLAN) == ("profile",)


def test_a_budget_of_errors_adds_passes_and_replaces_one() -> None:
    plain, within = names(COMPILE), names(within_budget(COMPILE))
    assert [name for name in within if name not in plain] == [
        *("measure_errors", "keep_budget", "judge_errors", "report_precision"),
    ]
    assert [name for name in plain if name not in within] == ["feedback"]


def test_the_options_of_the_python_api_are_the_fields_of_the_passes() -> None:
    assert set(InspectOptions.__annotations__) == options_of(INSPECT)
    profile = set(ProfileOptions.__annotations__)
    efforts = {"effort", "time_budget_s"}  # options of several passes at once
    assert profile == options_of(PROFILE) - {"samples"} | efforts
    others = {"passes", "given_profile", "given_plan"}
    assert set(CompileOptions.__annotations__) == options_of(COMPILE) | others | efforts


def test_every_option_of_a_plan_has_one_flag() -> None:
    flags = [found.flag for kind in (Request, Constraints) for each in fields(kind) if (found := declared(each))]
    assert len(flags) == len(set(flags)) == 17
