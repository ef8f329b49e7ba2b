"""Types and shapes of every value, found in the child process by inference and by trial runs.

Static inference does not know operators outside ONNX, and gives up where a shape is computed by the graph; a run of the
unoptimised model with made-up inputs shows both. Runs only in ``child``: a hostile model may do anything here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

from mosaic_onnx.core.graph.graphs import put_in_order, writes
from mosaic_onnx.core.graph.signature import given_inputs
from mosaic_onnx.core.graph.tensors import tensor_bytes
from mosaic_onnx.loading.checker_workarounds import mend_operators
from mosaic_onnx.loading.input_shapes import FreeDim, fix_inputs, free_dims, guesses
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.loading.shape_dependence import changing_functions, changing_shapes

_SMALL_BYTES = 4096
_SEEDS = (0, 1)
_VALUES_A_RUN = 4096


@dataclass
class ObservedTypes:
    """The types and shapes of a model's values.

    Attributes:
        symbols: sizes of the free dimensions.
        values: type and shape of the graph's values, as value infos; an unknown dimension is left out.
        seen_bytes: by value name, the bytes in the trial run of values whose shape may change.
        notes: facts that could not be found, with the reason.
    """

    symbols: dict[str, int]
    values: onnx.GraphProto = field(default_factory=onnx.GraphProto)
    seen_bytes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_types(
    path: str,
    shapes: Mapping[str, tuple[int, ...]],
    symbols: Mapping[str, int],
    may_run: bool,
    folder: str | None = None,
) -> ObservedTypes:
    """Find types and shapes of all values of the main graph.

    Args:
        path: the model file.
        shapes: input shapes that the caller gave.
        symbols: sizes that these fix.
        may_run: false: infer only, and take the first guess for free dimensions.
        folder: where its external data lies; None for beside the file.
    """
    folder = os.path.dirname(path) if folder is None else folder
    model = onnx.load_model(path, load_external_data=False)
    put_in_order(model)
    found = ObservedTypes(dict(symbols))
    dims = [dim for dim in free_dims(model.graph) if dim.tensor not in shapes and dim.symbol not in symbols]
    if dims:
        found.symbols.update(_settle(model, folder, shapes, dims, found) if may_run else next(guesses(dims)))
    fix_inputs(model, shapes, found.symbols)
    declared = {value.name: onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in _declared(model)}
    inferred = _infer(model, found.notes)
    unknown = [name for name in _made(model.graph) if not _is_known(inferred.get(name))]
    seen: dict[str, _Seen] = {}
    if unknown and may_run:
        seen = _observe(_with_types(model, inferred), folder, unknown, found.notes)
    _merge(model, inferred, seen, found)
    for value in found.values.value_info:
        # The file's declarations are the last resort: they may be for other input shapes.
        if not _is_known(value) and value.name not in seen and _is_known(declared.get(value.name)):
            value.CopyFrom(declared[value.name])
    return found


def _declared(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*model.graph.value_info, *model.graph.output]


def _merge(
    model: onnx.ModelProto, inferred: Mapping[str, onnx.ValueInfoProto], seen: Mapping[str, _Seen], found: ObservedTypes
) -> None:
    """Merge the inferred types with those seen in trial runs, where the latter cannot change."""
    fixed = {name for name in _made(model.graph) if _is_known(inferred.get(name))}
    inputs = [value.name for value in given_inputs(model.graph)]
    changing = changing_shapes(model.graph.node, inputs, fixed, changing_functions(model.functions))
    for name in _made(model.graph):
        value = inferred.get(name)
        if name in seen and name not in fixed:
            one = seen[name]
            shape = one.shape if name not in changing else None
            value = onnx.ValueInfoProto(name=name, type=one.type)
            if one.shape is not None and one.type.HasField("tensor_type"):
                _write_shape(value.type, shape, len(one.shape))
                if shape is None:
                    found.seen_bytes[name] = tensor_bytes(one.type.tensor_type.elem_type, one.shape)
        if value is not None:
            found.values.value_info.append(value)


def _write_shape(kind: onnx.TypeProto, shape: tuple[int, ...] | None, rank: int) -> None:
    kind.tensor_type.shape.ClearField("dim")
    kind.tensor_type.shape.SetInParent()
    for size in shape if shape is not None else [None] * rank:
        dim = kind.tensor_type.shape.dim.add()
        if size is not None:
            dim.dim_value = size


def _made(graph: onnx.GraphProto) -> list[str]:
    return [name for node in graph.node for name in writes(node)]


def _is_known(value: onnx.ValueInfoProto | None) -> bool:
    """Return whether element type and every dimension are known (for values that are not tensors: the kind)."""
    if value is None or not value.type.WhichOneof("value"):
        return False
    if not value.type.HasField("tensor_type"):
        return True
    tensor_type = value.type.tensor_type
    return (
        bool(tensor_type.elem_type)
        and tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor_type.shape.dim)
    )


def _infer(model: onnx.ModelProto, notes: list[str]) -> dict[str, onnx.ValueInfoProto]:
    """Return the statically inferred types; the file's own declarations are ignored, since they may be stale."""
    skeleton = _skeleton(model)
    mend_operators(skeleton)
    for value in skeleton.graph.output:
        value.type.tensor_type.ClearField("shape")
    del skeleton.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
    except Exception as error:  # the C++ library raises several classes with no common base
        notes.append(f"shape inference failed: {' '.join(str(error).split())[:300]}")
        inferred = skeleton
    found = {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.output)}
    return {name: value for name, value in found.items() if value.type.WhichOneof("value")}


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which large weights are inputs of the same type, so that it is small for every model."""
    large = [tensor for tensor in model.graph.initializer if tensor.ByteSize() > _SMALL_BYTES or tensor.external_data]
    names = {tensor.name for tensor in large}
    skeleton = onnx.ModelProto()
    for descriptor, value in model.ListFields():
        if descriptor.name not in ("graph", "training_info"):
            _copy_field(skeleton, descriptor, value)
    for descriptor, value in model.graph.ListFields():
        if descriptor.name != "initializer":
            _copy_field(skeleton.graph, descriptor, value)
    skeleton.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name not in names)
    inputs = {value.name for value in model.graph.input}
    for tensor in large:
        if tensor.name not in inputs:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            skeleton.graph.input.append(value)
    return skeleton


def _copy_field(target: Any, descriptor: Any, value: Any) -> None:
    field_of_target = getattr(target, descriptor.name)
    if hasattr(field_of_target, "extend"):
        field_of_target.extend(value)
    elif hasattr(field_of_target, "CopyFrom"):
        field_of_target.CopyFrom(value)
    else:
        setattr(target, descriptor.name, value)


@dataclass(frozen=True)
class _Seen:
    """One value in the trial runs; ``shape`` is None where the runs differ, or if it is not a tensor."""

    type: onnx.TypeProto
    shape: tuple[int, ...] | None


def _with_types(model: onnx.ModelProto, inferred: Mapping[str, onnx.ValueInfoProto]) -> onnx.ModelProto:
    """Return the model with the inferred types written in, as tracing the ranges of its inputs needs them."""
    del model.graph.value_info[:]
    model.graph.value_info.extend(value for value in inferred.values() if value.type.WhichOneof("value"))
    return model


def _session(model: onnx.ModelProto, folder: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = min(4, os.cpu_count() or 1)
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _feed(model: onnx.ModelProto, seed: int) -> dict[str, Any]:
    import onnxruntime

    types = {value.name: value.type.tensor_type.elem_type for value in given_inputs(model.graph)}
    make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
    plain = onnxruntime.OrtValue.ortvalue_from_numpy
    return {
        name: plain(array) if array.dtype.kind in "OU" else make(array, types[name])
        for name, array in make_inputs(model, seed).items()
    }


def _settle(
    model: onnx.ModelProto,
    folder: str,
    shapes: Mapping[str, tuple[int, ...]],
    dims: Sequence[FreeDim],
    found: ObservedTypes,
) -> dict[str, int]:
    """Return the first guess for the free dimensions with which the model runs; the very first where none does."""
    candidates = list(guesses(list(dims)))
    notes = found.notes
    reason = ""
    try:
        session = _session(model, folder)
    except Exception as error:  # ONNX Runtime raises a dozen classes with no common base
        notes.append(f"default input shapes were not tried: {' '.join(str(error).split())[:300]}")
        return candidates[0]
    for candidate in candidates:
        fixed = _skeleton(model)
        fix_inputs(fixed, shapes, {**found.symbols, **candidate})
        mend_operators(fixed)
        try:
            fixed = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
            session.run_with_ort_values(None, _feed_by(model, fixed))
        except Exception as error:
            reason = reason or " ".join(str(error).split())[:300]
        else:
            return candidate
    notes.append(f"the model ran with none of the default input shapes: {reason}")
    return candidates[0]


def _feed_by(model: onnx.ModelProto, skeleton: onnx.ModelProto) -> dict[str, Any]:
    """Return the inputs for the model, made from its skeleton (whose weights are inputs, and are not given)."""
    wanted = {value.name for value in given_inputs(model.graph)}
    return {name: value for name, value in _feed(skeleton, 0).items() if name in wanted}


def _observe(model: onnx.ModelProto, folder: str, names: Sequence[str], notes: list[str]) -> dict[str, _Seen]:
    """Return the types and shapes of values in trial runs with different inputs; empty if the model does not run."""
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    try:
        session = _session(model, folder)
    except Exception as error:
        notes.append(f"no trial run: {' '.join(str(error).split())[:300]}")
        return {}
    types = {output.name: _parse_type(output.type) for output in session.get_outputs()}
    seen = {name: _Seen(types[name], None) for name in names if name in types}
    try:
        runs = [_run(session, _feed(model, seed), names) for seed in _SEEDS]
    except Exception as error:
        notes.append(f"the trial run failed: {' '.join(str(error).split())[:300]}")
        return seen
    for name in names:
        if name in seen and runs[0][name] is not None and runs[0][name] == runs[1][name]:
            seen[name] = _Seen(types[name], runs[0][name])
    return seen


def _run(session: Any, feed: Mapping[str, Any], names: Sequence[str]) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of the values in one run, None for values that are not tensors."""
    shapes: dict[str, tuple[int, ...] | None] = {}
    for start in range(0, len(names), _VALUES_A_RUN):
        part = list(names[start : start + _VALUES_A_RUN])
        for name, value in zip(part, session.run_with_ort_values(part, feed), strict=True):
            shapes[name] = tuple(value.shape()) if value.is_tensor() else None
    return shapes


def _parse_type(words: str) -> onnx.TypeProto:
    """Return the type message of ONNX Runtime's name for a type (``tensor(float)``, ``seq(tensor(int64))``)."""
    kind, _, rest = words.partition("(")
    inner = rest[:-1]
    found = onnx.TypeProto()
    if kind in ("tensor", "sparse_tensor"):
        getattr(found, f"{kind}_type").elem_type = _element_type(inner)
    elif kind in ("seq", "optional"):
        target = found.sequence_type if kind == "seq" else found.optional_type
        target.elem_type.CopyFrom(_parse_type(inner))
    elif kind == "map":
        key, _, value = inner.partition(",")
        found.map_type.key_type = _element_type(key)
        found.map_type.value_type.CopyFrom(_parse_type(value if "(" in value else f"tensor({value})"))
    return found


def _element_type(word: str) -> int:
    return int(getattr(onnx.TensorProto, word.strip().upper(), onnx.TensorProto.UNDEFINED))
