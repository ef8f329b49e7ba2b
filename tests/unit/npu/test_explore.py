"""Sweeps of an NPU's sizes: their words, the front, plans for each point, the report."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.npu.explore.evaluate import ExploredModel, ModelOutcome, Point, evaluate_point
from mosaic_onnx.npu.explore.explore import explore, explored_model
from mosaic_onnx.npu.explore.front import pareto_front
from mosaic_onnx.npu.explore.page import page_of
from mosaic_onnx.npu.explore.sweep import sweep
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.layers.model import layers_of_model
from mosaic_onnx.npu.model_map import map_model
from mosaic_onnx.profiling.profile_model import profile_model
from tests.unit.npu.test_backend import SIMULATED, random_chain
from tests.unit.small_models import normalised

EYERISS = load_hardware("eyeriss")


def names(*words: str) -> list[str]:
    return [point.hardware.name.partition("/")[2] for point in sweep(EYERISS, words)]


def test_a_range_doubles_and_ends_at_its_upper_end() -> None:
    assert names("array=8x8..64x64") == ["array=8x8", "array=16x16", "array=32x32", "array=64x64"]
    assert names("buffer=48k..160k") == ["buffer=48k", "buffer=96k", "buffer=160k"]
    assert names("array=4x8..16x16") == ["array=4x8", "array=8x16", "array=16x16"]
    assert names("clock=200M..1G") == ["clock=200M", "clock=400M", "clock=800M", "clock=1G"]


def test_axes_multiply_and_the_last_changes_fastest() -> None:
    found = sweep(EYERISS, ["array=2x2,4x4", "dram=1.5,3"])
    assert [tuple(point.settings.values()) for point in found] == [
        ("2x2", "1.5"),
        ("2x2", "3"),
        ("4x4", "1.5"),
        ("4x4", "3"),
    ]
    assert found[1].hardware.dram.bytes_per_cycle == 3
    assert (found[2].hardware.array.rows, found[2].hardware.array.columns) == (4, 4)


def test_no_axis_leaves_the_base() -> None:
    (point,) = sweep(EYERISS, [])
    assert point.hardware == EYERISS


def test_a_split_buffer_keeps_the_shares_of_its_parts() -> None:
    base = load_hardware("systolic32")
    (point,) = sweep(base, [f"buffer={base.buffer.total_bytes // 2}"])
    assert point.hardware.buffer.weight_bytes == (base.buffer.weight_bytes or 0) // 2
    assert point.hardware.buffer.output_bytes == (base.buffer.output_bytes or 0) // 2


@pytest.mark.parametrize(
    "words",
    [
        ["colour=red"],
        ["buffer"],
        ["buffer="],
        ["buffer=0"],
        ["buffer=-1"],
        ["buffer=nan"],
        ["buffer=1.5"],
        ["array=8"],
        ["array=8x8x8"],
        ["buffer=1M..64k"],
        ["buffer=1", "buffer=2"],
        ["clock=1..8G", "dram=1..1M", "registers=1..1M", "buffer=1..1M"],
    ],
)
def test_what_is_no_sweep_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="sweep"):
        sweep(EYERISS, words)


def point(seconds: float, joules: float, area: float | None) -> Point:
    outcome = ModelOutcome("m", seconds, joules, None, 1, 1, 1, 1, seconds, joules)
    return Point("npu", {}, area, (outcome,))


def test_the_front_holds_what_no_point_beats() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        points = [point(*map(float, draw.integers(1, 5, size=3))) for _ in range(12)]
        figures = [(each.seconds, each.joules, each.area_mm2) for each in points]
        front = pareto_front(points)
        for place, mine in enumerate(figures):
            beaten = any(
                other != mine and all(a <= b for a, b in zip(other, mine, strict=True))  # type: ignore[operator]
                for other in figures
            )
            assert (place in front) == (not beaten and figures.index(mine) == place)


def test_a_point_that_cannot_run_the_models_is_not_on_the_front() -> None:
    failed = Point("npu", {}, 0.1, (), "no mapping")
    assert pareto_front([failed, point(1, 1, 1)]) == (1,)
    assert pareto_front([failed]) == ()


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> ExploredModel:
    ready = normalised(random_chain(1), tmp_path_factory.mktemp("model"))
    graph = layerize(ready)
    board = tuple(
        replace(each, levels=each.levels[-1:], options={**each.options, "seconds_per_operator": 2e-5})
        for each in read_shipped("hikey970")
        if each.name == "big"
    )
    profile = profile_model(ready, graph, board, {"simulated": SIMULATED})
    return explored_model("small.onnx", ready.model, graph, profile, EYERISS)


def test_each_point_is_planned_and_never_slower_than_the_other_devices_alone(explored: ExploredModel) -> None:
    alone = sum(cost.seconds for layer in explored.profile.layers for cost in layer.cost.values() if cost)
    for swept in sweep(EYERISS, ["array=2x2,8x8", "buffer=8k,64k"]):
        found = evaluate_point(swept, [explored], "latency", None)
        (outcome,) = found.outcomes
        assert outcome.seconds <= alone * (1 + 1e-9)
        assert outcome.bound_seconds is None or outcome.bound_seconds <= outcome.seconds * (1 + 1e-9)
        assert found.area_mm2 == swept.hardware.area_mm2
        assert outcome.npu_layer_count <= outcome.runnable_layer_count <= outcome.layer_count


def test_what_the_npu_could_run_costs_what_its_map_says(explored: ExploredModel, tmp_path: Path) -> None:
    (swept,) = sweep(EYERISS, ["array=4x4"])
    (outcome,) = evaluate_point(swept, [explored], "latency", None).outcomes
    layers = layers_of_model(normalised(random_chain(1), tmp_path).model, swept.hardware)
    found = map_model(layers, swept.hardware)
    reconfigured = swept.hardware.reconfiguration_s * len(found.layers)
    seconds = sum(layer.result.cost.cycles for layer in found.layers) / swept.hardware.clock_hz
    assert outcome.runnable_seconds == pytest.approx(seconds + reconfigured)
    assert outcome.runnable_joules == pytest.approx(found.joules)


def test_a_profile_of_another_model_is_refused(explored: ExploredModel, tmp_path: Path) -> None:
    ready = normalised(random_chain(1), tmp_path)
    other: Profile = replace(explored.profile, layers=explored.profile.layers[:-1])
    with pytest.raises(UsageError, match="layers are not those"):
        explored_model("small.onnx", ready.model, layerize(ready), other, EYERISS)


def test_processes_change_nothing_and_the_page_needs_nothing_else(explored: ExploredModel, tmp_path: Path) -> None:
    points = sweep(EYERISS, ["array=2x2,4x4"])
    first = explore(EYERISS, points, [explored], cache_folder=tmp_path, worker_count=2)
    assert first.points == tuple(evaluate_point(each, [explored], "latency", Cache(tmp_path)) for each in points)
    page = page_of(first)
    assert page == page_of(first)
    assert "emulated" in page
    assert not re.search(r'(src|href)="\s*(?!#|data:)', page)
    for one in first.points:
        assert one.settings["array"] in page
