"""The scenario that is served for real: a camera's two networks and a gesture's one."""

from __future__ import annotations

from pathlib import Path

import onnx

from mosaic_onnx.zoo import build

_NETWORKS = ("squeezenet", "mnasnet_0.5", "mobilenet_v2_1.0")
_SCENARIO = """schema = "mosaic-onnx/scenario/1"
[[groups]]
name = "camera"
period_ms = 60
models = ["squeezenet.onnx", "mobilenet_v2_1.0.onnx"]
[[groups]]
name = "gesture"
period_ms = 30
models = ["mnasnet_0.5.onnx"]
"""


def write_scenario(folder: Path) -> Path:
    """Write the networks that are not there, and the scenario beside them; return the scenario's path."""
    for name in _NETWORKS:
        if not (folder / f"{name}.onnx").exists():
            onnx.save(build(name), folder / f"{name}.onnx")
    file = folder / "scenario.toml"
    file.write_text(_SCENARIO)
    return file
