"""Any set of nodes as a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.rewriting.index import ModelIndex, index_model

_MIN_IR_VERSION = 4
"""From this IR version on an initialiser need not be a graph input."""


class Extractor:
    """Extracts sets of nodes from one model, which is indexed once.

    Args:
        model: normalised: sorted, value infos for every value that may be cut.
        folder: where its external data lies; None where there is none.
    """

    def __init__(self, model: onnx.ModelProto, folder: str | None) -> None:
        self.index: ModelIndex = index_model(model)
        self._folder = folder

    def extract(self, node_keys: Iterable[str], outputs: Sequence[str] | None = None) -> SliceModel:
        """Return the nodes as a model.

        Args:
            node_keys: keys of the nodes, in any order; their parameters are added.
            outputs: its outputs; by default the values that the rest of the model needs (where there are none, the
                values that no node reads).

        Raises:
            ModelError: a key names no node, a value's type is unknown, or an output is not produced by these nodes.
        """
        index = self.index
        positions = index.positions(node_keys)
        made = dict.fromkeys(index.made(positions))
        names = list(outputs) if outputs is not None else index.needed_outside(positions) or index.unread(positions)
        strange = [name for name in names if name not in made and not index.is_parameter(name)]
        if strange:
            raise ModelError(f"value {strange[0]!r} is not made by the nodes that should produce it")
        graph = onnx.GraphProto(name=index.model.graph.name or "slice")
        graph.node.extend(index.nodes[position] for position in positions)
        read = [*index.external_reads(positions), *(name for name in names if name not in made)]
        inputs = self._add_reads(graph, dict.fromkeys(read))
        for name in names:
            graph.output.append(index.infos.get(name, onnx.ValueInfoProto(name=name)))
        self._add_annotations(graph, [name for name in made if name not in set(names)], [*read, *made])
        return SliceModel(self._model(graph, positions), self._folder, tuple(inputs), tuple(names))

    def _add_reads(self, graph: onnx.GraphProto, read: Iterable[str]) -> list[str]:
        """Add the parameters as initialisers and the other values read as inputs; return the inputs' names."""
        index = self.index
        inputs = []
        for name in read:
            if name in index.weights:
                graph.initializer.append(index.weights[name])
                if name in index.overridable:
                    graph.input.append(index.infos[name])
            elif name in index.sparse_weights:
                graph.sparse_initializer.append(index.sparse_weights[name])
            elif index.maker.get(name) in index.constants:
                _add_constant(graph, index.nodes[index.maker[name]])
            else:
                graph.input.append(self._typed(name))
                inputs.append(name)
        return inputs

    def _typed(self, name: str) -> onnx.ValueInfoProto:
        info = self.index.infos.get(name)
        if info is None or not info.type.WhichOneof("value"):
            raise ModelError(f"the type of value {name!r} is unknown, so the model cannot be cut there")
        return info

    def _add_annotations(self, graph: onnx.GraphProto, inner: Iterable[str], named: Iterable[str]) -> None:
        """Add the model's declarations of inner values: types and quantisation parameters."""
        index = self.index
        graph.value_info.extend(index.infos[name] for name in inner if name in index.infos)
        annotated = index.annotations
        graph.quantization_annotation.extend(annotated[name] for name in dict.fromkeys(named) if name in annotated)

    def _model(self, graph: onnx.GraphProto, positions: Sequence[int]) -> onnx.ModelProto:
        source = self.index.model
        model = onnx.ModelProto(ir_version=max(source.ir_version, _MIN_IR_VERSION), producer_name="mosaic-onnx")
        model.opset_import.extend(source.opset_import)
        model.functions.extend(self.index.called_functions(positions))
        model.graph.CopyFrom(graph)
        return model


def _add_constant(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Add a ``Constant`` node as an initialiser, or as a node where its value has no such form."""
    name = node.output[0]
    for attribute in node.attribute:
        if attribute.name == "sparse_value":
            sparse = graph.sparse_initializer.add()
            sparse.CopyFrom(attribute.sparse_tensor)
            sparse.values.name = name
            return
        tensor = _constant_tensor(attribute)
        if tensor is not None:
            tensor.name = name
            graph.initializer.append(tensor)
            return
    first = [onnx.NodeProto.FromString(each.SerializeToString()) for each in (node, *graph.node)]
    del graph.node[:]
    graph.node.extend(first)


def _constant_tensor(attribute: onnx.AttributeProto) -> TensorProto | None:
    """Return the tensor of a ``Constant``'s attribute; None where it is not a value."""
    if attribute.name == "value":
        copy = TensorProto()
        copy.CopyFrom(attribute.t)
        return copy
    if attribute.name in ("value_string", "value_strings"):
        strings = list(attribute.strings) if attribute.name == "value_strings" else [attribute.s]
        shape = (len(strings),) if attribute.name == "value_strings" else ()
        return TensorProto(data_type=TensorProto.STRING, dims=shape, string_data=strings)
    if attribute.name in ("value_float", "value_floats"):
        floats = np.array(attribute.floats if attribute.name == "value_floats" else attribute.f, np.float32)
        return numpy_helper.from_array(floats)
    if attribute.name in ("value_int", "value_ints"):
        integers = np.array(attribute.ints if attribute.name == "value_ints" else attribute.i, np.int64)
        return numpy_helper.from_array(integers)
    return None
