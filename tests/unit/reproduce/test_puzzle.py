"""The reproduction of Puzzle's comparison: the report tells where its figures come from."""

from __future__ import annotations

import json
from pathlib import Path

from mosaic_onnx.reproduce.puzzle.random_scenarios import NETWORKS
from mosaic_onnx.reproduce.puzzle.run import Measured, reproduce_puzzle
from tests.unit.scenarios.builders import chain_profile


def test_a_report_on_measured_devices_says_so_and_no_baseline_is_better(tmp_path: Path) -> None:
    profiles = {name: chain_profile([(0.01, 0.02), (0.02, 0.01)]) for name in NETWORKS}
    report = reproduce_puzzle(tmp_path / "report", reduced=True, measured=Measured("two chips", profiles))
    text = (tmp_path / "report" / "report.md").read_text()
    assert "The networks' costs on two chips come from measurements" in text
    assert "A baseline is better than ours on no scenario" in text
    told = json.loads((tmp_path / "report" / "outcomes.json").read_text())
    assert told["board"] == "two chips"
    assert len(told["scenarios"]) == len(report.outcomes) == 2
    assert all(one["gap"] >= -1e-9 for one in told["scenarios"])
