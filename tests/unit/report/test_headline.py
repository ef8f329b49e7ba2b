"""The headline says how much faster, against what, and how sure that is."""

from __future__ import annotations

from dataclasses import replace

from mosaic_onnx.report.content import Measured
from mosaic_onnx.report.headline import headline_of
from tests.unit.report.contents import content


def test_the_headline_compares_the_delivered_plan_with_onnx_runtimes_default() -> None:
    first = headline_of(content()).first
    assert first == "1.24 × faster than ONNX Runtime's default: 7.7 ms → 6.2 ms, ± 2%"


def test_a_plan_that_is_slower_is_called_slower() -> None:
    slow = Measured("plan", "it was forced", {"plan": 0.010, "cpu, runtime's default": 0.008})
    assert headline_of(replace(content(), measured=slow)).first.startswith("1.25 × slower than ONNX Runtime's default")


def test_a_difference_below_half_a_percent_is_none() -> None:
    same = Measured("plan", "", {"plan": 0.0080, "cpu, runtime's default": 0.00802})
    assert headline_of(replace(content(), measured=same)).first.startswith("As fast as ONNX Runtime's default")


def test_without_a_default_the_best_single_device_is_what_it_is_compared_with() -> None:
    alone = Measured("plan", "", {"plan": 0.004, "cpu": 0.009, "gpu": 0.008})
    assert "2.00 × faster than gpu alone" in headline_of(replace(content(), measured=alone)).first


def test_a_single_device_that_was_delivered_is_named() -> None:
    single = Measured("cpu", "cpu alone is fastest", {"cpu": 0.004, "plan": 0.005, "cpu, runtime's default": 0.006})
    said = headline_of(replace(content(), measured=single))
    assert said.second == "Delivered: cpu alone, medians of interleaved runs. Cpu alone is fastest."


def test_what_was_not_measured_is_called_predicted() -> None:
    said = headline_of(replace(content(), measured=None))
    assert said.second.startswith("Predicted, not measured")
    assert "faster than cpu alone" in said.first
