"""Every model of the corpus that ONNX Runtime can load runs on seeded inputs."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from mosaic_onnx.core.graph.graphs import put_in_order
from mosaic_onnx.loading.inputs import make_inputs, model_inputs
from mosaic_onnx.verification.reference import Reference

pytestmark = pytest.mark.corpus


def prepared(path: Path, shapes: dict[str, list[int]]) -> onnx.ModelProto:
    """Sorted, with the given input shapes and every other shape inferred anew."""
    model = onnx.load(path, load_external_data=False)
    put_in_order(model)
    for value in model_inputs(model):
        if value.name in shapes:
            element_type = value.type.tensor_type.elem_type
            value.type.CopyFrom(helper.make_tensor_type_proto(element_type, shapes[value.name]))
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError:  # operators that only ONNX Runtime knows
        return model


@pytest.mark.whole_corpus
def test_every_model_of_the_catalogue_runs(shared: Path) -> None:
    models = shared / "models"
    ran = 0
    for entry in json.loads((models / "catalog.json").read_text()):
        name = entry["name"]
        if entry["role"] != "run" or name == "mobilenetv2_graph":  # the last one lacks its weights file
            continue
        shapes = {key: value[1] for key, value in (entry.get("run_inputs") or {}).items()}
        model = prepared(models / f"{name}.onnx", shapes)
        reference = Reference(model, str(models), "ONNX Runtime")
        assert reference.run(make_inputs(model)), name
        reference.close()
        ran += 1
    assert ran == 61


@pytest.mark.whole_corpus
def test_every_generated_model_runs_where_there_are_kernels_for_it(shared: Path) -> None:
    on_onnx_runtime = 0
    paths = sorted((shared / "models" / "fuzz").glob("*.onnx"))
    for path in paths:
        model = prepared(path, {})
        reference = Reference(model, None)
        assert reference.run(make_inputs(model)), path.name
        on_onnx_runtime += reference.runtime == "ONNX Runtime"
        reference.close()
    assert (on_onnx_runtime, len(paths)) == (56, 75)
