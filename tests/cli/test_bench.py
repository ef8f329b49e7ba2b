"""``mosaic-onnx bench``: figures, predicted beside measured, and the trace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx import api
from mosaic_onnx.core.errors import UsageError
from tests.cli.conftest import Mosaic

SLOW = """
schema = "mosaic-onnx/devices/1"
[[devices]]
name = "near"
backend = "simulated"
simulated = true
[devices.options]
seconds_per_operator = 0.002
[[devices]]
name = "far"
backend = "simulated"
simulated = true
[devices.options]
seconds_per_operator = 0.001
copy_in.seconds = 0.003
copy_out.seconds = 0.003
"""


@pytest.fixture
def bundle(mosaic: Mosaic, model: Path) -> str:
    """Three slices on the CPU."""
    done = mosaic("compile", str(model), "-d", "cpu", "--min-slices", "3", "--input-shape", "t0:2,8", "-q")
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def test_percentiles_are_ordered_and_every_slice_has_its_figures(mosaic: Mosaic, bundle: str) -> None:
    done = mosaic("bench", bundle, "--iterations", "30", "--warmup", "3", "--json")
    assert done.exit_code == 0, done.stderr
    told = done.json
    assert told["schema"] == "mosaic-onnx/bench/1"
    latency = told["latency_s"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
    assert len(told["seconds"]) == told["iterations"] == 30
    assert told["runs_per_second"] == pytest.approx(30 / sum(told["seconds"]))
    assert [one["state"] for one in told["slices"]] == ["cpu"] * 3
    assert all(one["measured_s"] > 0 and one["predicted_s"] > 0 for one in told["slices"])
    assert sum(one["layer_count"] for one in told["slices"]) == 3
    assert told["transfers"] == []


def test_people_read_a_line_and_tables(mosaic: Mosaic, bundle: str) -> None:
    done = mosaic("bench", bundle, "--iterations", "5")
    assert done.exit_code == 0
    assert done.stdout.startswith("latency: min ")
    assert "runs/s, 5 iterations" in done.stdout
    assert "predicted" in done.stderr
    assert "measured median" in " ".join(done.stderr.split())


def test_given_inputs_are_used(mosaic: Mosaic, bundle: str) -> None:
    np.savez("x.npz", t0=np.ones((2, 8), np.float32))
    assert mosaic("bench", bundle, "--iterations", "2", "--inputs", "x.npz").exit_code == 0
    np.savez("y.npz", t0=np.ones((3, 8), np.float32))
    assert mosaic("bench", bundle, "--iterations", "2", "--inputs", "y.npz").exit_code == 1


def test_a_trace_has_a_lane_for_every_device_and_all_slices_of_every_watched_run(mosaic: Mosaic, model: Path) -> None:
    Path("slow.toml").write_text(SLOW)
    words = ("--pin", "fc1=far", "--input-shape", "t0:2,8", "-q", "-o", "two.mosaic", "--no-fallback")
    done = mosaic("compile", str(model), "-d", "slow.toml", *words, "--pin", "fc0=near", "--pin", "fc2=near")
    assert done.exit_code == 0, done.stderr
    done = mosaic("bench", "two.mosaic", "--iterations", "4", "--warmup", "1", "--trace", "trace.json", "--json")
    assert done.exit_code == 0, done.stderr
    events = json.loads(Path("trace.json").read_text())["traceEvents"]
    lanes = {event["args"]["name"]: event["tid"] for event in events if event["name"] == "thread_name"}
    assert {"near", "far"} <= set(lanes)
    slices = [event for event in events if event.get("cat") == "slice"]
    assert len(slices) == 3 * done.json["traced_runs"]
    assert {event["tid"] for event in slices} == {lanes["near"], lanes["far"]}
    assert done.json["simulated"] == ["near", "far"]
    assert [one["measured_s"] > 0 and one["predicted_s"] == pytest.approx(0.003) for one in done.json["transfers"]]
    for one in done.json["slices"]:
        assert one["measured_s"] >= one["predicted_s"] * 0.95


def test_a_trace_is_not_replaced_without_being_told(mosaic: Mosaic, bundle: str) -> None:
    Path("trace.json").write_text("mine")
    assert mosaic("bench", bundle, "--iterations", "2", "--trace", "trace.json").exit_code == 2
    assert Path("trace.json").read_text() == "mine"
    assert mosaic("bench", bundle, "--iterations", "2", "--trace", "trace.json", "--force").exit_code == 0
    assert json.loads(Path("trace.json").read_text())["traceEvents"]


def test_no_iterations_is_refused(bundle: str) -> None:
    with pytest.raises(UsageError, match="nothing to time"):
        api.bench(bundle, iterations=0)
