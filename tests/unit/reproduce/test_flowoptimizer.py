"""FlowOptimizer's comparison: what is compared, the gains, the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.search.dataflow import best_dataflow
from mosaic_onnx.reproduce.flowoptimizer.compare import (
    DATAFLOWS,
    HARDWARE,
    OBJECTIVES,
    Comparison,
    compare_operator,
    gain,
    genetic_distance,
)
from mosaic_onnx.reproduce.flowoptimizer.operators import Operator, every_operator
from mosaic_onnx.reproduce.flowoptimizer.report import report_text
from mosaic_onnx.reproduce.flowoptimizer.run import reproduce_flowoptimizer

SMALL = Operator("dense", 3, 8, 16)


def made_up(best: float, fixed: float, genetic: tuple[float, ...] = ()) -> Comparison:
    row = {**dict.fromkeys(DATAFLOWS, fixed), "best": best}
    return Comparison(SMALL, dict.fromkeys(OBJECTIVES, row), 0.0, genetic)


def test_the_hardware_has_168_elements_and_108_kilobytes() -> None:
    hardware = load_hardware(HARDWARE)
    assert hardware.array.mac_count == 168
    assert hardware.buffer.total_bytes == 108 * 1024


def test_operators_are_dense_and_depthwise_with_three_filters_on_eight_maps() -> None:
    operators = every_operator()
    assert len(set(operators)) == 2 * 3 * 8
    assert {one.extent for one in operators} == {32, 16, 8, 112, 56, 28, 14, 7}
    for one in operators:
        assert (one.nest.P, one.nest.Q) == (one.nest.H, one.nest.W) == (one.extent, one.extent)
        assert one.nest.macs == one.channels * one.taps**2 * one.extent**2 * (
            1 if one.kind == "depthwise" else one.channels
        )


def test_the_best_dataflow_is_never_worse_than_a_fixed_one_or_a_genetic_search() -> None:
    found = compare_operator(SMALL, seed_count=2)
    assert found.gap == 0
    for objective in OBJECTIVES:
        for dataflow in DATAFLOWS:
            assert 0 <= found.reduction(objective, dataflow) < 1
    assert len(found.genetic) == 2
    assert min(found.genetic) >= 1
    cycles = best_dataflow(SMALL.nest, load_hardware(HARDWARE)).cost.cycles
    assert found.figures["latency"]["best"] == pytest.approx(cycles / load_hardware(HARDWARE).clock_hz)
    assert compare_operator(Operator("dense", 5, 8, 4), seed_count=2).genetic == ()


def test_gains_are_means_of_operators_and_of_the_sum() -> None:
    found = gain([made_up(1, 2), made_up(9, 12)], "latency", "nvdla")
    assert found.mean == pytest.approx((0.5 + 0.25) / 2)
    assert found.total == pytest.approx(1 - 10 / 14)
    assert found.largest == 0.5


def test_the_genetic_searchs_distance_counts_every_run() -> None:
    rows = [made_up(1, 2, (1.0, 1.2, 1.4)), made_up(1, 2, (1.1, 1.1, 2.0)), made_up(1, 2)]
    middle, mean, worst, runs = genetic_distance(rows)
    assert (middle, worst, runs) == (pytest.approx(1.15), 2.0, 6)
    assert mean == pytest.approx((1.2 + 1.1) / 2)


def test_the_report_says_that_the_papers_figures_are_another_thing() -> None:
    text = report_text([made_up(1, 2, (1.0, 1.2))], ["dataflows.png"])
    assert "87.1 %" in text
    assert "92.3 %" in text
    assert "searched models" in text
    assert "not\nthe same thing" in text
    assert "emulated" in text
    assert "![dataflows.png](dataflows.png)" in text


@pytest.mark.slow
def test_a_reduced_reproduction_writes_its_files(tmp_path: Path) -> None:
    report = reproduce_flowoptimizer(tmp_path, reduced=True)
    for name in report.files:
        assert (tmp_path / name).stat().st_size
    fields = json.loads((tmp_path / "operators.json").read_text())
    assert fields["simulated"] is True
    assert len(fields["operators"]) == 12
    for one in fields["operators"]:
        for row in one["figures"].values():
            assert row["best"] <= min(row.values()) * (1 + 1e-12)
