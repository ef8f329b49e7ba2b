"""Hints for names that do not exist, and units of messages."""

from __future__ import annotations

import pytest

from mosaic_onnx.cli.parse import parse_effort, parse_seconds
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.text.quantities import bytes_text, seconds_text
from mosaic_onnx.core.text.suggestions import did_you_mean, same_but_case


def test_the_nearest_names_are_offered_and_all_where_none_is_near() -> None:
    assert did_you_mean("CPUU", ["openvino", "cpu"]) == "did you mean cpu?"
    assert did_you_mean("zzz", ["cpu", "npu"]) == "one of: cpu, npu"


def test_case_counts_only_where_two_names_differ_by_it() -> None:
    assert same_but_case("CPU", ["cpu", "gpu"]) == "cpu"
    assert same_but_case("CPU", ["cpu", "Cpu"]) is None


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20.0), ("500ms", 0.5), ("2 min", 120.0), ("7", 7.0)])
def test_times_are_written_with_their_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text, "--time-budget") == pytest.approx(seconds)


def test_a_time_that_is_none_is_refused_with_the_right_form() -> None:
    with pytest.raises(UsageError, match="--time-budget 'soon'") as caught:
        parse_effort(None, "soon")
    assert "20s" in caught.value.hint


def test_quantities_are_told_in_the_units_of_users() -> None:
    assert [bytes_text(count) for count in (900, 5221248, 2e9)] == ["900 bytes", "5.22 MB", "2 GB"]
    assert [seconds_text(seconds) for seconds in (1e-4, 0.006127, 90.0)] == ["0.1 ms", "6.127 ms", "90 s"]
