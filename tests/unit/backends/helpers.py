"""Small slices that the backend tests share."""

from __future__ import annotations

import onnx

from mosaic_onnx.backends.base import SliceModel


def slice_of(text: str, folder: str | None = None) -> SliceModel:
    """A slice from ONNX text; a graph name is needed and nothing else."""
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    graph = model.graph
    return SliceModel(model, folder, tuple(i.name for i in graph.input), tuple(o.name for o in graph.output))


def unary(operator: str, type_name: str = "float", shape: str = "[2,3]", opset: int = 21) -> SliceModel:
    """One node from x to y."""
    return slice_of(
        f'<ir_version: 10, opset_import: ["": {opset}]> {operator.lower()} ({type_name}{shape} x) => '
        f"({type_name}{shape} y) {{ [only] y = {operator}(x) }}"
    )
