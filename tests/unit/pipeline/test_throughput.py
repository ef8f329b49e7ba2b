"""A plan for throughput, from compiling to requests: measured by the clock, proved on every device that it uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.planner.core.request import Request


def one_core_devices(folder: Path) -> tuple[str, ...]:
    """Write a device a core; return the file."""
    cores = usable_cores()[:2]
    devices = [Device(f"core{core}", "onnxruntime", options={"cores": str(core), "threads": 1}) for core in cores]
    write_devices(devices, folder / "devices.toml")
    return (str(folder / "devices.toml"),)


@pytest.mark.slow
@pytest.mark.skipif(len(usable_cores()) < 2, reason="a pipeline needs two cores")
def test_every_way_to_throughput_takes_part_in_the_contest(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        two (float[96, 96] x) => (float[96, 96] y) { a = MatMul (x, x)  y = MatMul (a, x) }""")
    onnx.save(model, tmp_path / "two.onnx")
    request = Request(objective="throughput")
    made = api.compile_unwritten(
        tmp_path / "two.onnx", devices=one_core_devices(tmp_path), request=request, cache=False
    )
    plans = [one.plan for one in made.state.candidates]
    assert any(plan.replicas for plan in plans)
    assert {plan.slices[0].state for plan in plans if len(plan.slices) == 1} >= set(made.state.selection.by_name)


@pytest.mark.slow
@pytest.mark.skipif(len(usable_cores()) < 2, reason="replicas need two cores")
def test_replicas_are_measured_and_proved_on_each_device(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        one (float[96, 96] x) => (float[96, 96] y) { y = MatMul (x, x) }""")
    onnx.save(model, tmp_path / "one.onnx")
    request = Request(objective="throughput", deadline_s=1.0)
    made = api.compile_unwritten(
        tmp_path / "one.onnx",
        devices=one_core_devices(tmp_path),
        request=request,
        fallback=False,
        cache=False,
    )
    plan, contest, proof = made.plan, made.state.contest, made.state.proof
    names = set(made.state.selection.by_name)
    assert {plan.slices[0].state, *plan.replicas} == names
    assert contest.is_rate
    assert contest.timings is not None
    assert plan.predicted.interval_seconds == contest.timings.median_s("plan")
    assert {check.device for check in proof.slices} == names
    assert plan.constraints["deadline_s"] == 1.0
    with api.load(api.write(made, tmp_path / "one.mosaic")) as session:
        x = np.full((96, 96), 0.5, np.float32)
        answers = [session.run_async(x) for _ in range(20)]
        assert all(np.allclose(answer.result(30)["y"], x @ x) for answer in answers)
