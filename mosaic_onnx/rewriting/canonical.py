"""The canonical file: one model in which each slice is a function, and each transfer a call of ``mosaic.Transfer``.

Any ONNX runtime can run it: functions are inlined and the transfers' Identity is removed. Weights and constants stay
outside, as function inputs, so that external data and more than 2 GiB work. Every value, node, piece of metadata and
annotation of the input is kept, in the graph or in the function that now holds it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import (
    domain_of,
    every_node,
    free_name,
    function_key,
    initializer_names,
    is_orderly,
    put_in_order,
    reads,
    renamed_node,
    subgraphs,
    writes,
)
from mosaic_onnx.core.graph.topological import order_by_sources
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import HOST, Profile
from mosaic_onnx.loading.checks import RUNTIME_DOMAINS
from mosaic_onnx.rewriting.index import ModelIndex, index_model
from mosaic_onnx.rewriting.outer import OuterGraph
from mosaic_onnx.rewriting.tags import add_configuration, layer_annotation, set_metadata, slice_metadata
from mosaic_onnx.rewriting.transfer_calls import TransferCalls, shared_memory

DOMAIN = "mosaic"
TRANSFER = "Transfer"
IR_VERSION = 11
"""The first IR version with multi-device fields; a higher one of the input is kept."""

_Call = tuple[int | None, onnx.NodeProto]
"""A node of the new graph with the number of its slice, or None for a transfer."""


@dataclass
class _Part:
    """One slice: its nodes, its inputs and outputs, and whether it stays in the graph as tagged nodes."""

    number: int
    positions: list[int]
    tensors: list[str]
    parameters: list[str]
    outputs: list[str]
    is_inline: bool = False


def partition(
    model: onnx.ModelProto,
    profile: Profile,
    plan: Plan,
    *,
    types: Mapping[str, onnx.TypeProto] | None = None,
    inline: Collection[int] = (),
) -> onnx.ModelProto:
    """Return the model rewritten to the plan's slices; the input is not changed.

    Args:
        model: any model, sorted or not; shapes need not be known. External tensors stay external.
        profile: whose layers name the model's nodes.
        plan: whose slices cover every layer once.
        types: types of values that the model does not declare; element types and ranks are used, so that dimensions
            which the model leaves free stay free. Checkers need them for tensors that operators outside ONNX produce.
        inline: numbers of slices to leave as tagged nodes; slices that runtimes are known to refuse as
            functions always are (see ``needs_no_function``).

    Raises:
        ModelError: profile or plan are not of this model, or the slices depend on each other in a cycle.
    """
    kinds = types or {}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if not is_orderly(result):
        put_in_order(result)
    _import_what_is_used(result)
    index = index_model(result)
    parts = _parts(index, profile, plan)
    result.ir_version = max(result.ir_version, IR_VERSION)
    _keep_old_initialisers_constant(result, model.ir_version)
    devices = [device_of(each.state) for each in plan.slices]
    configuration = add_configuration(result, sorted(set(devices)))
    names = _function_names(result, len(parts))
    for part in parts:
        part.is_inline = part.number in inline or needs_no_function([index.nodes[at] for at in part.positions])
    functions = [_function(index, part, names[part.number]) for part in parts if not part.is_inline]
    calls, origins = _lay_out(index, parts, names, profile, plan)
    _tag(calls, origins, profile, plan, configuration)
    _replace_nodes(result, index, functions, calls)
    _declare(result.graph, {value: kinds[name] for value, name in origins.items() if name in kinds})
    _describe(result, profile, plan)
    return result


def needs_no_function(nodes: Sequence[onnx.NodeProto]) -> bool:
    """Return whether runtimes refuse these nodes in a function although they accept them in a graph.

    ONNX's type inference of functions, which ONNX Runtime calls, fails on bodies of loops and branches that do not
    declare their types, and on ``EmbedLayerNormalization`` with all three outputs.
    """
    for node in every_node(nodes):
        if node.op_type == "EmbedLayerNormalization" and len(writes(node)) > 2:
            return True
        for graph in subgraphs(node):
            if any(not value.type.WhichOneof("value") for value in (*graph.input, *graph.output)):
                return True
    return False


def _parts(index: ModelIndex, profile: Profile, plan: Plan) -> list[_Part]:
    """Return the slices as sets of nodes, in topological order."""
    owner: dict[int, int] = {}
    parts = []
    for number in range(len(plan.slices)):
        positions = index.positions(slice_nodes(profile, plan, number))
        for position in positions:
            if owner.setdefault(position, number) != number:
                raise ModelError(f"node {_key(index, position)!r} is in two slices, {owner[position]} and {number}")
        parts.append(_part(index, number, positions))
    missing = [at for at in range(len(index.nodes)) if at not in owner and at not in index.constants]
    if missing:
        hint = "profile and plan must be of this model"
        raise ModelError(f"node {_key(index, missing[0])!r} is in no slice of the plan", hint)
    sources = [{owner[index.maker[name]] for name in part.tensors if name in index.maker} for part in parts]
    order = order_by_sources(sources, str)
    if order.cycle:
        raise ModelError(f"the plan's slices depend on each other: {' → '.join((*order.cycle, order.cycle[0]))}")
    return [parts[number] for number in order.positions]


def slice_nodes(profile: Profile, plan: Plan, number: int) -> list[str]:
    """Return the keys of a slice's nodes: its own where the plan has them, else its layers'.

    Raises:
        ModelError: the profile does not give the nodes of a layer.
    """
    planned = plan.slices[number]
    if planned.nodes:
        return list(planned.nodes)
    keys: list[str] = []
    for layer in planned.layers:
        if not 0 <= layer < len(profile.layers):
            raise ModelError(f"slice {number} names layer {layer}, and the profile has {len(profile.layers)}")
        nodes = profile.layers[layer].nodes
        if not nodes:
            hint = "profile the model again, or give each layer its nodes"
            raise ModelError(f"layer {profile.layers[layer].name!r} of the profile names no nodes", hint)
        keys.extend(nodes)
    return keys


def _part(index: ModelIndex, number: int, positions: list[int]) -> _Part:
    read = index.external_reads(positions)
    return _Part(
        number,
        positions,
        tensors=[name for name in read if not index.is_parameter(name)],
        parameters=[name for name in read if index.is_parameter(name)],
        outputs=index.needed_outside(positions) or index.unread(positions),
    )


def _key(index: ModelIndex, position: int) -> str:
    return next(key for key, at in index.position.items() if at == position)


def _keep_old_initialisers_constant(model: onnx.ModelProto, ir_version: int) -> None:
    """Keep initialisers constant that are inputs too: before IR 4 all are, from 4 on such inputs may be overridden.

    Their declarations move to the value infos, so that a runtime still folds and packs those weights.
    """
    if ir_version >= 4:
        return
    names = initializer_names(model.graph)
    kept: list[onnx.ValueInfoProto] = []
    moved: list[onnx.ValueInfoProto] = []
    for value in model.graph.input:
        copy = onnx.ValueInfoProto.FromString(value.SerializeToString())
        (moved if value.name in names else kept).append(copy)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    present = {value.name for value in model.graph.value_info}
    model.graph.value_info.extend(value for value in moved if value.name not in present)


def _function_names(model: onnx.ModelProto, count: int) -> list[str]:
    """Return names for the slices' functions that the model's functions do not have."""
    taken = {function.name for function in model.functions if function.domain == DOMAIN}
    return [free_name(f"slice_{number:03d}", taken, "_") for number in range(count)]


def _function(index: ModelIndex, part: _Part, name: str) -> onnx.FunctionProto:
    """Return one slice as a function over its tensors and parameters."""
    function = onnx.FunctionProto(name=name, domain=DOMAIN)
    function.input.extend([*part.tensors, *part.parameters])
    function.output.extend(part.outputs)
    function.node.extend(index.nodes[position] for position in part.positions)
    for entry in index.model.opset_import:
        # Runtimes look for the default domain by its empty name here.
        function.opset_import.add(domain=domain_of(entry.domain), version=entry.version)
    named = {*index.made(part.positions), *part.tensors, *part.parameters}
    # Checkers refuse a value info without a type.
    infos = (info for info in index.model.graph.value_info if info.name in named)
    function.value_info.extend(info for info in infos if info.type.WhichOneof("value"))
    return function


def _lay_out(
    index: ModelIndex, parts: Sequence[_Part], names: Sequence[str], profile: Profile, plan: Plan
) -> tuple[list[_Call], dict[str, str]]:
    """Return the calls of slices and transfers in topological order.

    Returns:
        The calls, and {value that enters or leaves a slice: the tensor of the model that it holds}.
    """
    taken = {*index.inputs, *index.outputs, *index.weights, *index.sparse_weights, *index.maker}
    crossings = TransferCalls(plan, shared_memory(profile), profile.tensor_bytes, taken)
    for name in index.inputs:
        crossings.homes[name], crossings.base[name] = HOST, name
    graph = OuterGraph(DOMAIN)
    numbers: list[int | None] = []
    node_names = {node.name for node in index.nodes}
    renamed: dict[int, dict[str, str]] = {}
    for part in parts:
        device = device_of(plan.slices[part.number].state)
        values = [crossings.value_for(name, device) for name in part.tensors]
        numbers += _add_transfers(crossings, graph, node_names)
        _place_outputs(crossings, part, device, index)
        made = [crossings.base[name] for name in part.outputs]
        renamed[part.number] = dict(zip((*part.tensors, *part.outputs), (*values, *made), strict=True))
        node_name = free_name(names[part.number], node_names)
        graph.call(names[part.number], node_name, [*values, *part.parameters], made)
        numbers.append(part.number)
    for name in index.outputs:
        if name in crossings.homes and name not in index.inputs:
            crossings.output_value(name)
    numbers += _add_transfers(crossings, graph, node_names)
    inline = {part.number: part for part in parts if part.is_inline}
    calls: list[_Call] = []
    for number, call in zip(numbers, graph.nodes(), strict=True):
        if number in inline:
            nodes = (index.nodes[at] for at in inline[number].positions)
            calls.extend((number, renamed_node(node, renamed[number])) for node in nodes)
        else:
            calls.append((number, call))
    return calls, crossings.origins


def _place_outputs(crossings: TransferCalls, part: _Part, device: str, index: ModelIndex) -> None:
    """Record the device and value name of a slice's outputs; a model output that is transferred is named later."""
    for name in part.outputs:
        crossings.homes[name] = device
        is_moved = name in index.outputs and crossings.leaves_home(name)
        crossings.base[name] = free_name(f"{name}@{device}", crossings.taken) if is_moved else name
        if is_moved:
            crossings.taken.discard(name)


def _add_transfers(crossings: TransferCalls, graph: OuterGraph, node_names: set[str]) -> list[None]:
    """Add the transfers requested since the last call; return one None for each."""
    asked = list(crossings.made)
    crossings.made.clear()
    for one in asked:
        words: dict[str, str | int] = {"source": one.source, "destination": one.destination, "bytes": one.bytes}
        name = free_name(f"transfer/{one.value}", node_names)
        graph.call(TRANSFER, name, [one.source_value], [one.value], **words)
    return [None] * len(asked)


def _transfer_function(model: onnx.ModelProto) -> onnx.FunctionProto:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 13)
    return helper.make_function(
        DOMAIN,
        TRANSFER,
        ["x"],
        ["y"],
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_opsetid("", version)],
        ["source", "destination", "bytes"],
    )


def _tag(calls: Sequence[_Call], origins: Mapping[str, str], profile: Profile, plan: Plan, configuration: str) -> None:
    """Tag every call, and the nodes of slices that are not functions, with device and pipeline stage."""
    for number, call in calls:
        if number is None:
            destination = next(each.s.decode() for each in call.attribute if each.name == "destination")
            set_metadata(call.metadata_props, {"mosaic.tensor": origins[call.output[0]]})
            if destination != HOST:
                set_metadata(call.metadata_props, {"layer_ann": layer_annotation(destination)})
            continue
        set_metadata(call.metadata_props, slice_metadata(profile, plan, number))
        call.device_configurations.add(configuration_id=configuration, pipeline_stage=number)


def _replace_nodes(
    model: onnx.ModelProto,
    index: ModelIndex,
    functions: Sequence[onnx.FunctionProto],
    calls: Sequence[_Call],
) -> None:
    """Replace all nodes but constants by the calls; inner value infos are already in the functions."""
    constants = [onnx.NodeProto.FromString(index.nodes[at].SerializeToString()) for at in sorted(index.constants)]
    outer = {name for _, call in calls for name in (*reads(call), *call.output)} | set(index.inputs)
    moved = {info.name for function in functions for info in function.value_info} - outer
    infos = [
        onnx.ValueInfoProto.FromString(info.SerializeToString())
        for info in model.graph.value_info
        if info.name not in moved
    ]
    del model.graph.node[:]
    model.graph.node.extend([*constants, *(call for _, call in calls)])
    del model.graph.value_info[:]
    model.graph.value_info.extend(infos)
    model.functions.extend(functions)
    keys = {function_key(function) for function in model.functions}
    if (DOMAIN, TRANSFER, "") not in keys and any(number is None for number, _ in calls):
        model.functions.append(_transfer_function(model))
    if calls and all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.add(domain=DOMAIN, version=1)
    if all(entry.domain not in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.add(domain="", version=13)


def _declare(graph: onnx.GraphProto, types: Mapping[str, onnx.TypeProto]) -> None:
    """Declare the element types of undeclared values, and the ranks of the graph's outputs."""
    declared = {value.name for value in (*graph.value_info, *graph.input, *graph.output)}
    for name, kind in types.items():
        if name not in declared and kind.HasField("tensor_type"):
            graph.value_info.add(name=name).type.tensor_type.elem_type = kind.tensor_type.elem_type
    for value in graph.output:
        kind = types.get(value.name, onnx.TypeProto())
        if not value.type.WhichOneof("value") and kind.HasField("tensor_type"):
            value.type.tensor_type.elem_type = kind.tensor_type.elem_type
        own = value.type.tensor_type
        if value.type.HasField("tensor_type") and not own.HasField("shape") and kind.tensor_type.HasField("shape"):
            own.shape.SetInParent()
            for _ in kind.tensor_type.shape.dim:
                own.shape.dim.add()


def _import_what_is_used(model: onnx.ModelProto) -> None:
    """Import the domains in use: ONNX Runtime accepts its own domains without an import in a graph only."""
    imported = {domain_of(entry.domain) for entry in model.opset_import}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    used = {domain_of(node.domain) for nodes in bodies for node in every_node(nodes)}
    for domain in sorted((used & RUNTIME_DOMAINS) - imported):
        model.opset_import.add(domain=domain, version=1)


def _describe(model: onnx.ModelProto, profile: Profile, plan: Plan) -> None:
    devices = list(dict.fromkeys(device_of(each.state) for each in plan.slices))
    described = {
        "mosaic.objective": plan.objective,
        "mosaic.schedule": plan.schedule,
        "mosaic.slices": str(len(plan.slices)),
        "mosaic.devices": json.dumps(devices, ensure_ascii=False),
    }
    if profile.model_sha256:
        described["mosaic.source_sha256"] = profile.model_sha256
    set_metadata(model.metadata_props, described)
