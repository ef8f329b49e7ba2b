"""Many models on two cores, of which each offers ONNX Runtime f32, OpenVINO f32 and OpenVINO bf16, measured."""

from __future__ import annotations

import importlib.util

from bench.many_models.served import served_rows
from bench.report import Row


def run(quick: bool) -> list[Row]:
    """Return all rows; ``quick`` serves for less time."""
    if importlib.util.find_spec("openvino") is None:
        return [Row("two cores, three configurations", float("nan"), "ratio", note="skipped: no openvino")]
    kinds = ["onnxruntime", "openvino", "openvino bf16"]
    return [*served_rows("two cores, three configurations", kinds, quick=quick)]
