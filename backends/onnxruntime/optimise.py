"""The optimised model of ONNX Runtime: fused, in this machine's layouts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.options import OrtOptions
from mosaic_onnx.backends.onnxruntime.session import session_options, with_named_nodes
from mosaic_onnx.core.errors import BackendError

_TENSOR = re.compile(r"tensor\((\w+)\)")
_ELEMENT_TYPES = {
    "float": onnx.TensorProto.FLOAT,
    "double": onnx.TensorProto.DOUBLE,
    "float16": onnx.TensorProto.FLOAT16,
    "bfloat16": onnx.TensorProto.BFLOAT16,
    "bool": onnx.TensorProto.BOOL,
    "string": onnx.TensorProto.STRING,
    **{f"{sign}int{bits}": onnx.TensorProto.DataType.Value(f"{sign}int{bits}".upper())
       for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def optimised(model: SliceModel, options: OrtOptions, label: str) -> SliceModel:
    """Return the model optimised for this machine's CPU.

    Args:
        model: the model.
        options: the device's options.
        label: its name in errors.

    Raises:
        BackendError: ONNX Runtime refuses the model, or a value's type is unknown.
    """
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="mosaic-") as temporary:
        path = Path(temporary) / "optimised.onnx"
        session = session_options(options, model.folder)
        session.optimized_model_filepath = str(path)
        # Without a file of their own, unchanged weights would still refer to the model's file.
        session.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
        session.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            content = with_named_nodes(model.model).SerializeToString()
            ort.InferenceSession(content, session, providers=[options.provider], enable_fallback=0)
            made = onnx.load(path)
            _declare_types(made, options)
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise BackendError(f"{label} cannot be optimised ahead: {error}") from error
    return SliceModel(made, None, model.inputs, model.outputs, is_optimised=True)


def _declare_types(model: onnx.ModelProto, options: OrtOptions) -> None:
    """Add the type and shape of every value; only a session knows them, since operators are the runtime's own."""
    import onnxruntime as ort

    exposing = onnx.ModelProto()
    exposing.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name and name not in known]
    exposing.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    settings = session_options(options, None)
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(exposing.SerializeToString(), settings, providers=[options.provider])
    model.graph.value_info.extend(_infos(session.get_outputs(), set(inner)))


def _infos(values: list[Any], wanted: set[str]) -> Iterator[onnx.ValueInfoProto]:
    for value in values:
        found = _TENSOR.fullmatch(value.type)
        if value.name in wanted and found is not None and found[1] in _ELEMENT_TYPES:
            shape = [dim if isinstance(dim, int) and dim >= 0 else None for dim in value.shape]
            yield onnx.helper.make_tensor_value_info(value.name, _ELEMENT_TYPES[found[1]], shape)
