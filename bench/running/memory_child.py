"""Run a model in a process of its own and print its peak memory: ``python -m bench.running.memory_child KIND PATH``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.peak import peak_bytes

RUNS = 5


def main(kind: str, path: Path) -> None:
    """Load and run a bundle, or a model in one session; print bytes before and at the peak."""
    import numpy as np
    import onnxruntime as ort

    from mosaic_onnx.files.bundle import read_bundle
    from mosaic_onnx.pipeline.open_bundle import open_bundle

    bundle = read_bundle(path)
    fed = np.load(path.parent / "inputs.npz")
    inputs = {name: fed[name] for name in fed.files}
    before = peak_bytes()
    if kind == "bundle":
        with open_bundle(bundle) as program:
            for _ in range(RUNS):
                program.run(inputs)
            peak = peak_bytes()
    else:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(path / "slices" / "uncut.onnx", options, providers=["CPUExecutionProvider"])
        for _ in range(RUNS):
            session.run(None, inputs)
        peak = peak_bytes()
    print(json.dumps({"before": before, "peak": peak}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
