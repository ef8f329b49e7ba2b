"""Plans for CPU and CUDA against CUDA alone and against ONNX Runtime's own split of the same model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.measuring import PLAN, Calls, delivered_calls, interleaved, ratio_row
from bench.report import Row
from bench.workloads import Workload, corpus, paper
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.discovery.selection import Selection, select
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.pipeline.compilation import Compilation, compile_model

CUDA, SPLIT = "cuda", "ONNX Runtime's own split"
PROVIDERS = ("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"


def run(quick: bool) -> list[Row]:
    everything = select()
    machine = everything.versions.get(CUDA, "")
    if CUDA not in everything.by_name:
        reason = next((each.reason for each in everything.absent if each.name == CUDA), "it does not take part")
        return [Row("CPU and CUDA", float("nan"), "ratio", note=f"skipped, no CUDA device: {reason}")]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        models = [*paper(("squeezenet",) if quick else ("squeezenet", "inception_v4"), Path(name))]
        for model in (*models, *corpus(("vespa_transformer_mlm",))):
            rows += _model(model, select(("cpu", CUDA)), machine, 5 if quick else 21)
    return rows


def _model(model: Workload, selection: Selection, machine: str, rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as cache, ExitStack() as stack:
        try:
            compiled = compile_model(model.path, selection, Cache(Path(cache)))
        except MosaicError as error:
            yield Row(f"{model.name}: not compiled", float("nan"), "ratio", note=error.message)
            return
        timings = interleaved(delivered_calls(compiled, stack) | _split(model, compiled), rounds)
    devices = ", ".join(sorted({device_of(one.state) for one in compiled.plan.slices}))
    verified = "verified" if compiled.state.proof.passed else "WRONG OUTPUTS"
    words = f"{machine}; {len(compiled.plan.slices)} slices on {devices}; {verified}"
    for other in (CUDA, SPLIT):
        if other in timings.seconds:
            yield ratio_row(f"{model.name}: compiled", timings, PLAN, other, None, words)


def _split(model: Workload, compiled: Compilation) -> Calls:
    import onnxruntime as ort

    inputs = dict(compiled.state.inputs)
    session = ort.InferenceSession(model.path, providers=list(PROVIDERS))
    return {SPLIT: lambda: session.run(None, inputs)}
