"""Graphs of ONNX GraphSurgeon in and out.

GraphSurgeon edits graphs well and forgets much when it writes them: metadata, device configurations, quantisation
annotations, model version, documentation. ``model_of_graph`` puts back what the model that a graph was made of had.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_graphsurgeon as gs

from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.rewriting.rewrite import partition

_MODEL_FIELDS = ("producer_name", "producer_version", "domain", "model_version", "doc_string")


def graph_of_model(model: onnx.ModelProto) -> gs.Graph:
    """Return a model as GraphSurgeon's graph; slices stay calls of local functions."""
    return gs.import_onnx(model)


def model_of_graph(graph: gs.Graph, like: onnx.ModelProto) -> onnx.ModelProto:
    """Return GraphSurgeon's graph as a model, with what GraphSurgeon forgets put back.

    A node counts as the same where it has the same operator and makes the same first output.

    Args:
        graph: as it was edited.
        like: the model that it was made of; it is left as it is.
    """
    model: onnx.ModelProto = gs.export_onnx(graph)
    model.ir_version = like.ir_version
    for name in _MODEL_FIELDS:
        setattr(model, name, getattr(like, name))
    _put_back(model.metadata_props, like.metadata_props)
    _put_back(model.configuration, like.configuration)
    _put_back_graph(model.graph, like.graph)
    functions = {(one.domain, one.name, one.overload): one for one in like.functions}
    for function in model.functions:
        old = functions.get((function.domain, function.name, function.overload))
        if old is not None:
            function.doc_string = old.doc_string
            _put_back(function.metadata_props, old.metadata_props)
            _put_back_nodes(function.node, old.node)
    return model


def partition_graph(graph: gs.Graph, profile: Profile, plan: Plan) -> gs.Graph:
    """Return a graph cut to a plan's slices; the given one stays as it is.

    What the slices' calls carry as metadata is not part of GraphSurgeon's graphs: ``partition`` of a model keeps it.

    Args:
        graph: any graph.
        profile: whose layers name its nodes.
        plan: whose slices cover the layers.

    Raises:
        ModelError: profile or plan are not of this graph, or the slices wait for each other.
    """
    return gs.import_onnx(partition(gs.export_onnx(graph.copy()), profile, plan))


def _put_back_graph(graph: onnx.GraphProto, like: onnx.GraphProto) -> None:
    graph.doc_string = like.doc_string
    _put_back(graph.metadata_props, like.metadata_props)
    made = {name for node in graph.node for name in node.output} | {value.name for value in graph.input}
    annotations = [one for one in like.quantization_annotation if one.tensor_name in made]
    _put_back(graph.quantization_annotation, annotations)
    _put_back_nodes(graph.node, like.node)
    known = {value.name: value for value in (*like.input, *like.value_info, *like.output)}
    for value in (*graph.input, *graph.value_info, *graph.output):
        old = known.get(value.name)
        if old is not None:
            value.doc_string = old.doc_string
            _put_back(value.metadata_props, old.metadata_props)


def _put_back_nodes(nodes: Iterable[onnx.NodeProto], like: Iterable[onnx.NodeProto]) -> None:
    old = {(node.op_type, node.domain, node.output[0]): node for node in like if node.output}
    for node in nodes:
        same = old.get((node.op_type, node.domain, node.output[0])) if node.output else None
        if same is not None:
            node.doc_string, node.overload = same.doc_string, same.overload
            _put_back(node.metadata_props, same.metadata_props)
            _put_back(node.device_configurations, same.device_configurations)


def _put_back(here: object, there: object) -> None:
    """Fill a repeated field that GraphSurgeon left empty."""
    if not here:
        here.extend(there)  # type: ignore[attr-defined]
