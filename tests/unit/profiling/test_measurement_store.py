from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.profiling.attribution import Share
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.measurement_store import Conditions, Ledger
from mosaic_onnx.profiling.measuring.copies import CopyTimes
from mosaic_onnx.profiling.measuring.slices import Outcome
from mosaic_onnx.verification.differences import Difference

ONE = Digest("one")
MEASURED = Outcome(seconds=0.5, median_s=0.6, run_count=9, load_s=1.0, error=1e-7)
LEDGER = Ledger(None, Device("npu", backend="b"), None, Conditions({"b": "1"}, {"cpu": "x"}, "model"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return replace(LEDGER, cache=Cache(tmp_path))


def test_what_is_kept_comes_back(ledger: Ledger) -> None:
    ledger.keep_outcome(ONE, MEASURED)
    ledger.keep_shares(ONE, {0: Share(0.25, 4096), 2: Share(0.5)})
    ledger.keep_copies(CopyTimes(((4, 0.1),), ((4, 0.2),)))
    ledger.keep_names("alone", ONE, ("a", "b"))
    assert ledger.outcome(ONE) == MEASURED
    assert ledger.shares(ONE) == {0: Share(0.25, 4096), 2: Share(0.5)}
    assert ledger.copies() == CopyTimes(((4, 0.1),), ((4, 0.2),))
    assert ledger.names("alone", ONE) == ("a", "b")


def test_without_a_cache_nothing_is_kept() -> None:
    LEDGER.keep_outcome(ONE, MEASURED)
    assert LEDGER.outcome(ONE) is None


def test_a_refusal_is_kept_and_a_crash_is_not(ledger: Ledger) -> None:
    ledger.keep_outcome(ONE, Outcome("does not compile: no"))
    ledger.keep_outcome(Digest("two"), Outcome("crashed", is_lasting=False))
    assert ledger.outcome(ONE) == Outcome("does not compile: no")
    assert ledger.outcome(Digest("two")) is None


def test_differences_were_judged_and_are_not_kept(ledger: Ledger) -> None:
    ledger.keep_outcome(ONE, replace(MEASURED, differences=(Difference("y"),)))
    assert ledger.outcome(ONE) == MEASURED


@pytest.mark.parametrize(
    "other",
    [
        {"device": Device("npu", backend="b", precision="f16")},
        {"device": Device("npu", backend="c")},
        {"device": Device("npu", backend="b", options={"threads": 1})},
        {"level": Level("1GHz", 1e9)},
        {"conditions": Conditions({"b": "2"}, {"cpu": "x"}, "model")},
        {"conditions": Conditions({"b": "1"}, {"cpu": "y"}, "model")},
    ],
)
def test_other_conditions_are_another_measurement(ledger: Ledger, other: dict[str, object]) -> None:
    ledger.keep_outcome(ONE, MEASURED)
    assert replace(ledger, **other).outcome(ONE) is None  # type: ignore[arg-type]


def test_the_devices_name_does_not_matter(ledger: Ledger) -> None:
    ledger.keep_outcome(ONE, MEASURED)
    assert replace(ledger, device=Device("other", backend="b")).outcome(ONE) == MEASURED


def test_the_model_matters_only_to_what_depends_on_values(ledger: Ledger) -> None:
    loop = Digest("loop", depends_on_values=True)
    ledger.keep_outcome(ONE, MEASURED)
    ledger.keep_outcome(loop, MEASURED)
    elsewhere = replace(ledger, conditions=Conditions({"b": "1"}, {"cpu": "x"}, "another model"))
    assert elsewhere.outcome(ONE) == MEASURED
    assert elsewhere.outcome(loop) is None
