from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx.parser
import pytest

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.profiling.attribution import KernelShare
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.machine import MachineFacts
from mosaic_onnx.profiling.measurement_store import Conditions, MeasurementStore
from mosaic_onnx.profiling.measuring.copies import CopyTimes
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement
from mosaic_onnx.profiling.setup import ProfileOptions, open_profiled_model, open_store
from mosaic_onnx.verification.differences import Difference
from tests.unit.profiling.helpers import normalised_model

MODEL = """<ir_version: 9, opset_import: ["" : 17]> one (float[1,8] x) => (float[1,8] y) { y = Sin (x) }"""

ONE = Digest("one")
MEASURED = SliceMeasurement(seconds=0.5, median_s=0.6, run_count=9, load_s=1.0, error=1e-7)
LEDGER = MeasurementStore(None, Device("npu", backend="b"), None, Conditions({"b": "1"}, {"cpu": "x"}, "model"))


@pytest.fixture
def store(tmp_path: Path) -> MeasurementStore:
    return replace(LEDGER, cache=Cache(tmp_path))


def test_what_is_kept_comes_back(store: MeasurementStore) -> None:
    store.keep_measurement(ONE, MEASURED)
    store.keep_shares(ONE, {0: KernelShare(0.25, 4096), 2: KernelShare(0.5)})
    store.keep_copies(CopyTimes(((4, 0.1),), ((4, 0.2),)))
    store.keep_names("alone", ONE, ("a", "b"))
    assert store.measurement(ONE) == MEASURED
    assert store.shares(ONE) == {0: KernelShare(0.25, 4096), 2: KernelShare(0.5)}
    assert store.copies() == CopyTimes(((4, 0.1),), ((4, 0.2),))
    assert store.names("alone", ONE) == ("a", "b")


def test_without_a_cache_nothing_is_kept() -> None:
    LEDGER.keep_measurement(ONE, MEASURED)
    assert LEDGER.measurement(ONE) is None


def test_what_a_board_measured_is_kept_under_the_boards_own_facts(tmp_path: Path) -> None:
    normalised = normalised_model(onnx.parser.parse_model(MODEL))
    options = ProfileOptions(cache=Cache(tmp_path), versions={"onnxruntime": "1.31"})
    profiled = open_profiled_model(normalised.model, normalised.folder, layerize(normalised), options)
    device = Device("npu", backend="b")
    board = MachineFacts({"cpu": "Cortex-A76"}, {"onnxruntime": "1.23"})
    open_store(profiled, device, None, options, board).keep_measurement(ONE, MEASURED)
    assert open_store(profiled, device, None, options, board).measurement(ONE) == MEASURED
    newer = replace(board, versions={"onnxruntime": "1.31"})
    assert open_store(profiled, device, None, options, newer).measurement(ONE) is None
    assert open_store(profiled, device, None, options).measurement(ONE) is None


def test_a_disturbed_measurement_is_told_after_three_spells_and_adds_to_the_next_one(store: MeasurementStore) -> None:
    disturbed = replace(MEASURED, is_disturbed=True)
    store.keep_measurement(ONE, disturbed)
    assert store.measurement(ONE) is None
    slower = store.with_earlier(ONE, replace(disturbed, seconds=0.7))
    assert (slower.seconds, slower.spell_count) == (0.5, 2)
    store.keep_measurement(ONE, replace(slower, spell_count=3))
    assert store.measurement(ONE) == replace(disturbed, spell_count=3)


@pytest.mark.parametrize("now", [SliceMeasurement("crashed"), replace(MEASURED, seconds=0.7, wrong="y is off")])
def test_what_does_not_run_right_now_is_told_whatever_was_measured_before(
    store: MeasurementStore, now: SliceMeasurement
) -> None:
    store.keep_measurement(ONE, replace(MEASURED, is_disturbed=True))
    assert store.with_earlier(ONE, now) == now


@pytest.mark.parametrize("before", [MEASURED, replace(MEASURED, is_disturbed=True, wrong="y is off")])
def test_only_what_was_disturbed_and_right_adds_to_a_measurement(
    store: MeasurementStore, before: SliceMeasurement
) -> None:
    now = replace(MEASURED, seconds=0.7)
    assert store.with_earlier(ONE, now) == now
    store.keep_measurement(ONE, before)
    assert store.with_earlier(ONE, now) == now


def test_a_refusal_is_kept_and_a_crash_is_not(store: MeasurementStore) -> None:
    store.keep_measurement(ONE, SliceMeasurement("does not compile: no"))
    store.keep_measurement(Digest("two"), SliceMeasurement("crashed", is_lasting=False))
    assert store.measurement(ONE) == SliceMeasurement("does not compile: no")
    assert store.measurement(Digest("two")) is None


def test_differences_were_judged_and_are_not_kept(store: MeasurementStore) -> None:
    store.keep_measurement(ONE, replace(MEASURED, differences=(Difference("y"),)))
    assert store.measurement(ONE) == MEASURED


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
def test_other_conditions_are_another_measurement(store: MeasurementStore, other: dict[str, object]) -> None:
    store.keep_measurement(ONE, MEASURED)
    assert replace(store, **other).measurement(ONE) is None  # type: ignore[arg-type]


def test_the_devices_name_does_not_matter(store: MeasurementStore) -> None:
    store.keep_measurement(ONE, MEASURED)
    assert replace(store, device=Device("other", backend="b")).measurement(ONE) == MEASURED


def test_the_model_matters_only_to_what_depends_on_values(store: MeasurementStore) -> None:
    loop = Digest("loop", depends_on_values=True)
    store.keep_measurement(ONE, MEASURED)
    store.keep_measurement(loop, MEASURED)
    elsewhere = replace(store, conditions=Conditions({"b": "1"}, {"cpu": "x"}, "another model"))
    assert elsewhere.measurement(ONE) == MEASURED
    assert elsewhere.measurement(loop) is None
