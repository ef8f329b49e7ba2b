"""Time a delivered bundle against what users run today: ``python -m bench.running.delivery_child MODEL BUNDLE ROUNDS``.

A process of its own for each model, as a user's is. It prints one object of JSON: seconds by name, a figure a round.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.measuring import Calls, repeats
from mosaic_onnx.api import load
from mosaic_onnx.files.bundle import read_bundle
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.profiling.interleaved import measure_interleaved

DELIVERED, ONNXRUNTIME, OPENVINO = "delivered", "ONNX Runtime", "OpenVINO"


def main(model: Path, folder: Path, round_count: int) -> None:
    """Load the bundle and the yardsticks, and time them in turn."""
    bundle = read_bundle(folder)
    inputs = dict(make_inputs(bundle.original(), 0))
    with load(folder, trust=True) as session:
        calls: Calls = {DELIVERED: lambda: session.run(inputs)}
        calls |= yardstick_calls(model, inputs)
        once = measure_interleaved(calls, round_count=3, repeat_count=1)
        longest_s = max(map(once.median_s, calls))
        timings = measure_interleaved(calls, round_count=round_count, repeat_count=repeats(longest_s))
    plan = bundle.plan
    figures = {
        "seconds": {name: list(values) for name, values in timings.seconds.items()},
        "repeat_count": timings.repeat_count,
        "predicted_s": plan.predicted.seconds,
        "contest_s": bundle.manifest.get("measured", {}).get("median_s", {}),
        "slices": [slice_.state for slice_ in plan.slices],
        "reason": str(bundle.manifest.get("selection", {}).get("reason", "")),
    }
    print(json.dumps(figures))


def yardstick_calls(model: Path, inputs: Mapping[str, np.ndarray]) -> Calls:
    """Return the runtimes' own defaults; one that cannot run the model is left out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    calls: Calls = {ONNXRUNTIME: lambda: session.run(None, inputs)}
    try:
        import openvino

        core = openvino.Core()
        network = core.read_model(model)
        network.reshape({name: list(array.shape) for name, array in inputs.items()})
        request = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
        request.infer(inputs)
    except (ImportError, RuntimeError):
        return calls
    calls[OPENVINO] = lambda: request.infer(inputs)
    return calls


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
