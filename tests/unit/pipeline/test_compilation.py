"""What takes part in the contest for delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser
import pytest

from mosaic_onnx.discovery.selection import select
from mosaic_onnx.passes.measure_slices import Choice, SegmentsMeasured
from mosaic_onnx.pipeline import compilation
from mosaic_onnx.pipeline.compilation import compile_model
from mosaic_onnx.pipeline.preparation import Recipe

MODEL = """
    <ir_version: 9, opset_import: ["" : 17]>
    three (float[1,8] x) => (float[1,8] y) { [one] a = Sin (x) [two] b = Cos (a) [three] y = Abs (b) }"""


@pytest.mark.provider("openvino")
def test_a_device_that_runs_every_layer_but_not_the_whole_is_no_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "three.onnx")
    survey, honest = compilation.measure, compilation.measure_segments
    whole = (0, 2, "openvino")

    def measure(normalised: object, graph: object, choices: Sequence[Choice], *others: object) -> SegmentsMeasured:
        found = honest(normalised, graph, [one for one in choices if one != whole], *others)
        return replace(found, reasons={**found.reasons, **{one: "it crashed" for one in choices if one == whole}})

    monkeypatch.setattr(compilation, "measure", lambda *given: replace(survey(*given), segments=()))
    monkeypatch.setattr(compilation, "measure_segments", measure)
    said: list[str] = []
    compiled = compile_model(tmp_path / "three.onnx", select(["cpu", "openvino"]), Recipe(), said.append)
    assert "openvino" not in compiled.single_predicted
    assert "cpu" in compiled.single_predicted
    assert "openvino alone is left out: it crashed" in said
    assert compiled.proof.passed
