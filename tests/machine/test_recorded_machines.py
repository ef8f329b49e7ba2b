"""With nothing written by hand, a compilation on a recorded machine uses its clusters, its GPU and its NPU.

Times are simulated (``recorded_runtimes``); discovery, selection, profile, plan, proof and run are the real ones.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Mosaic
from tests.machine.conftest import Become


def states_of(bundle: Path) -> list[str]:
    plan = json.loads((bundle / "plan.json").read_text())
    return [one["state"] for one in plan["slices"]]


def test_a_laptops_plan_uses_npu_gpu_and_the_performance_cores(become: Become, model: Path, mosaic: Mosaic) -> None:
    become("laptop")
    done = mosaic("compile", str(model), "--max-error", "0.02")
    assert done.exit_code == 0, done.stderr
    assert "devices: cpu (f32), cpu-p (f32), cpu-e (f32), openvino (f32), openvino-gpu (f32)" in done.stderr
    bundle = model.with_suffix(".mosaic")
    assert states_of(bundle) == ["openvino-npu", "openvino-gpu", "cpu-p", "openvino-gpu"]
    assert mosaic("run", str(bundle), "--iterations", "2").exit_code == 0
    assert mosaic("verify", str(bundle)).exit_code == 0


def test_without_an_error_budget_the_npu_is_left_out_with_the_reason(
    become: Become, model: Path, mosaic: Mosaic
) -> None:
    become("laptop")
    done = mosaic("devices", "--json")
    assert "openvino-npu" not in done.json["default"]
    done = mosaic("inspect", str(model))
    assert done.exit_code == 0, done.stderr


def test_a_phone_boards_plan_uses_its_gpu_and_both_clusters(become: Become, model: Path, mosaic: Mosaic) -> None:
    become("phone")
    done = mosaic("compile", str(model))
    assert done.exit_code == 0, done.stderr
    assert "devices: cpu (f32), cpu-big (f32), cpu-little (f32), webgpu (f32), xnnpack (f32)" in done.stderr
    bundle = model.with_suffix(".mosaic")
    assert states_of(bundle) == ["webgpu", "cpu-big", "cpu-little"]
    assert mosaic("run", str(bundle), "--iterations", "2").exit_code == 0
