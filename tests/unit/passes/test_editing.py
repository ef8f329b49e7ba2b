"""Pipelines made from pipelines."""

from __future__ import annotations

import pytest

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.passes.base import Passes
from mosaic_onnx.passes.editing import after, before, configured, every, find, instead, option_of, since, until, without
from mosaic_onnx.passes.measurement.estimate import Estimate
from mosaic_onnx.passes.planning.accuracy_budget import KeepBudget
from mosaic_onnx.passes.preparation.layerize import Layerize
from mosaic_onnx.passes.preparation.load import Load
from mosaic_onnx.passes.preparation.normalise import Normalise
from mosaic_onnx.pipeline.pipelines import COMPILE, within_budget
from mosaic_onnx.planner.core.request import Request

THREE: Passes = (Load(), Normalise(), Layerize())


def names(passes: Passes) -> list[str]:
    return [one.name for one in passes]


def test_a_pipeline_is_cut_before_and_behind_a_pass() -> None:
    assert names(until(THREE, "normalise")) == ["load", "normalise"]
    assert names(since(THREE, "normalise")) == ["normalise", "layerize"]
    assert names(without(THREE, "normalise")) == ["load", "layerize"]


def test_a_pass_is_put_before_after_and_in_the_place_of_another() -> None:
    assert names(before(THREE, "load", Estimate())) == ["estimate", "load", "normalise", "layerize"]
    assert names(after(THREE, "layerize", Estimate())) == ["load", "normalise", "layerize", "estimate"]
    assert names(instead(THREE, "normalise", Estimate())) == ["load", "estimate", "layerize"]
    assert names(THREE) == ["load", "normalise", "layerize"]


def test_a_name_that_no_pass_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="there is no pass 'lower'") as caught:
        find(THREE, "lower")
    assert caught.value.hint == "passes: load, normalise, layerize"


def test_an_option_reaches_every_pass_that_has_it_however_deep() -> None:
    request = Request(objective="energy")
    passes = configured(within_budget(COMPILE), {"request": request, "granularity": "node"})
    assert option_of(passes, "request") is request
    assert option_of(passes, "granularity") == "node"
    keep = find(passes, "keep_budget")
    assert isinstance(keep, KeepBudget)
    assert option_of((keep,), "request") is request
    assert option_of(COMPILE, "granularity") == "fused"


def test_every_pass_is_seen_with_those_inside_it() -> None:
    inside = names(tuple(every((find(COMPILE, "feedback"),))))
    assert inside == ["feedback", "estimate", "plan", "measure_slices", "time_plan"]


def test_an_option_that_no_pass_has_is_refused() -> None:
    with pytest.raises(UsageError, match="no pass has an option 'colour'"):
        option_of(THREE, "colour")
