"""Normalise a model: sorted nodes, concrete input shapes, and the type and shape of every value.

Nothing is renamed, removed or folded; input shapes, order and value infos are all that change, in a copy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import is_constant, put_in_order, superseded_constants
from mosaic_onnx.core.graph.tensors import tensor_bytes
from mosaic_onnx.core.layers import TensorInfo
from mosaic_onnx.core.process.memory import is_too_large
from mosaic_onnx.core.process.shared_folder import SharedFolder
from mosaic_onnx.loading.children import ChildFailure, Children
from mosaic_onnx.loading.input_shapes import FreeDim, Shapes, fix_inputs, free_dims, symbols_of_shapes
from mosaic_onnx.loading.model import Limits, OpenedModel
from mosaic_onnx.loading.node_checks import check_attributes


@dataclass(frozen=True)
class Normalised:
    """A model that is ready to be cut.

    Attributes:
        model: sorted; input shapes concrete; a value info for every value whose type is known.
        folder: where its external data lies.
        tensors: static facts of every input, value and weight of the main graph, by name.
        defaults: the assumptions made for missing input shapes, one sentence each, to be shown to the user.
        notes: facts that could not be found, with the reason.
        held: keeps ``folder`` in being where it is a temporary one.
        weight_digests: content digests of external data, by file, offset and length, as far as they are known.
    """

    model: onnx.ModelProto
    folder: str
    tensors: Mapping[str, TensorInfo]
    defaults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    held: SharedFolder | None = None
    weight_digests: Mapping[tuple[Path, int, int], bytes] = field(default_factory=dict)


def normalise(
    opened: OpenedModel,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    limits: Limits | None = None,
    children: Children | None = None,
) -> Normalised:
    """Sort the nodes, fix the inputs' shapes, and find the type and shape of every value.

    Free dimensions that no given shape fixes get a default: the first of a list of guesses (by their names) with
    which the model runs. Shapes that depend on the *values* of the inputs stay unknown.

    Args:
        opened: the model; it is left as it is.
        input_shapes: shapes by input name; they may settle dimensions of other inputs by name.
        limits: caps on the child process.
        children: a child of theirs runs the model.

    Raises:
        UsageError: a given shape does not fit the model.
        ModelError: a shape is impossible, or a node cannot run on any input.
    """
    given = dict(input_shapes or {})
    symbols = symbols_of_shapes(opened.model.graph, given)
    dims = [dim for dim in free_dims(opened.model.graph) if dim.tensor not in given and dim.symbol not in symbols]
    found = _find_types(opened, given, symbols, limits or Limits(), children or Children())
    model = onnx.ModelProto()
    model.CopyFrom(opened.model)
    put_in_order(model)
    fix_inputs(model, given, found.symbols)
    _write_types(model.graph, found.values)
    notes = [*_superseded_notes(opened.model.graph), *found.notes]
    tensors = _tensor_table(model.graph, found.seen_bytes)
    check_attributes(model.graph, tensors)
    return Normalised(model, str(opened.folder), tensors, _said_aloud(dims, found.symbols), tuple(notes))


@dataclass(frozen=True)
class _Found:
    """The child's answer (see ``trial.ObservedTypes``)."""

    symbols: dict[str, int]
    values: onnx.GraphProto
    seen_bytes: dict[str, int]
    notes: list[str]


def _find_types(
    opened: OpenedModel, shapes: Shapes, symbols: Mapping[str, int], limits: Limits, children: Children
) -> _Found:
    """Ask the child process; where a trial run kills it, ask again without trial runs."""
    external = opened.external_bytes
    failures: list[str] = []
    for may_run in (True, False):
        with tempfile.TemporaryDirectory(prefix="mosaic-") as folder:
            target = Path(folder) / "values"
            path = opened.file_in(Path(folder))
            size = path.stat().st_size
            request: dict[str, Any] = {"path": str(path), "target": str(target), "may_run": may_run}
            request["folder"] = str(opened.folder)
            request |= {"shapes": {name: list(shape) for name, shape in shapes.items()}, "symbols": dict(symbols)}
            try:
                memory_limit_bytes = limits.memory_bytes + 4 * (size + external)
                time_limit_s = limits.time_limit_s(size, limits.trial_s, external)
                answer: Any = children.run("types", request, time_limit_s, memory_limit_bytes)
            except ChildFailure as failure:
                failures.append(str(failure))
                continue
            values = onnx.GraphProto.FromString(target.read_bytes())
        lost = [f"the trial run was given up ({failure})" for failure in failures]
        return _Found(answer["symbols"], values, answer["seen_bytes"], [*lost, *answer["notes"]])
    raise ModelError(f"{opened.path.name}: its shapes cannot be inferred ({failures[-1]})")


def _write_types(graph: onnx.GraphProto, values: onnx.GraphProto) -> None:
    """Write the types found into outputs and value infos, keeping their other fields."""
    types = {value.name: value.type for value in values.value_info}
    outputs = {value.name for value in graph.output}
    infos = {value.name: value for value in graph.value_info}
    for value in graph.output:
        if value.name in types:
            value.type.CopyFrom(types[value.name])
    for name, kind in types.items():
        if name in infos:
            infos[name].type.CopyFrom(kind)
        elif name not in outputs:
            graph.value_info.add(name=name, type=kind)


def _tensor_table(graph: onnx.GraphProto, seen_bytes: Mapping[str, int]) -> dict[str, TensorInfo]:
    """Return the static facts of inputs, weights and values, without values that are not tensors."""
    table: dict[str, TensorInfo] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            table[value.name] = _tensor_info(value, seen_bytes.get(value.name, 0))
    for tensor in graph.initializer:
        shape = tuple(tensor.dims)
        size = tensor_bytes(tensor.data_type, shape)
        table[tensor.name] = TensorInfo(tensor.name, tensor.data_type, shape, size)
    for sparse in graph.sparse_initializer:
        values, shape = sparse.values, tuple(sparse.dims)
        table[values.name] = TensorInfo(values.name, values.data_type, shape, tensor_bytes(values.data_type, shape))
    for node in graph.node:
        if is_constant(node):
            table.update(_constant_info(node))
    return table


def _tensor_info(value: onnx.ValueInfoProto, seen_bytes: int) -> TensorInfo:
    tensor_type = value.type.tensor_type
    dims = tensor_type.shape.dim
    if not tensor_type.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
        return TensorInfo(value.name, tensor_type.elem_type, None, seen_bytes)
    shape = tuple(dim.dim_value for dim in dims)
    size = tensor_bytes(tensor_type.elem_type, shape)
    if is_too_large(size) or any(one < 0 for one in shape):
        raise ModelError(
            f"tensor {value.name!r} of shape {shape} would take {size} bytes, more than this machine has",
            "give smaller input shapes: --input-shape NAME:1,3,224,224",
        )
    return TensorInfo(value.name, tensor_type.elem_type, shape, size)


def _constant_info(node: onnx.NodeProto) -> dict[str, TensorInfo]:
    for attribute in node.attribute:
        if attribute.name == "value":
            shape = tuple(attribute.t.dims)
            size = tensor_bytes(attribute.t.data_type, shape)
            return {node.output[0]: TensorInfo(node.output[0], attribute.t.data_type, shape, size)}
    return {}


def _superseded_notes(graph: onnx.GraphProto) -> list[str]:
    names = {graph.node[index].output[0] for index in superseded_constants(graph.node)}
    if not names:
        return []
    shown = ", ".join(sorted(names)[:3])
    return [f"{len(names)} constants are given twice ({shown}, …): the last one counts, as in ONNX Runtime"]


def _said_aloud(dims: list[FreeDim], symbols: Mapping[str, int]) -> tuple[str, ...]:
    """Return one sentence for each free dimension that got a default."""
    inputs: dict[str, list[str]] = {}
    for dim in dims:
        inputs.setdefault(dim.symbol, []).append(dim.tensor)
    sentences = []
    for symbol, names in inputs.items():
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        sentences.append(f"dimension {symbol!r} of {shown} is taken as {symbols.get(symbol, 1)}")
    return tuple(sentences)
