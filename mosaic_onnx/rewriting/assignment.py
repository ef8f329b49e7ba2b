"""A plan for stock ONNX Runtime: the model as it was, each node tagged with the device that its layer got.

ONNX Runtime reads ``layer_ann`` in a node's metadata and the session option ``session.layer_assignment_settings``
(``gpu(=gpu0);cpu(=cpu)``), and assigns nodes to execution providers before its own partitioning; weights stay with
their nodes. It takes one provider of a kind per session.
"""

from __future__ import annotations

import onnx

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import every_node, node_keys, reads, writes
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.rewriting.tags import layer_annotation, layer_assignment_settings, set_metadata

SETTINGS_KEY = "session.layer_assignment_settings"
METADATA_IR = 10
"""The IR version that brought metadata of nodes."""


def assigned_model(model: onnx.ModelProto, profile: Profile, plan: Plan) -> tuple[onnx.ModelProto, str]:
    """Return the model with ``layer_ann`` on its nodes, and the value of the session option that goes with it.

    Nodes that the plan does not name (constants that were folded) go where they are read.

    Args:
        model: the model that was profiled; left as it is.
        profile: what the plan was made from.
        plan: slices with the keys of the model's nodes.

    Raises:
        ModelError: the plan names nodes that the model does not have, or none.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ir_version = max(made.ir_version, METADATA_IR)
    device_of_key = {
        key: device_of(one.state) for one in plan.slices for key in one.nodes or _nodes(profile, one.layers)
    }
    keys = node_keys(made.graph)
    strange = next((key for key in device_of_key if key not in set(keys)), None)
    if strange is not None or not device_of_key:
        fault = "names no nodes" if strange is None else f"names node {strange!r}, which the model does not have"
        raise ModelError(f"the plan {fault}", "give the model that was profiled, and its profile's plan")
    devices = [device_of_key.get(key, "") for key in keys]
    _follow_readers(made.graph, devices)
    for node, device in zip(made.graph.node, devices, strict=True):
        if device:
            for each in every_node([node]):
                set_metadata(each.metadata_props, {"layer_ann": layer_annotation(device)})
    return made, layer_assignment_settings(profile, plan)


def _nodes(profile: Profile, layers: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(node for layer in layers for node in profile.layers[layer].nodes)


def _follow_readers(graph: onnx.GraphProto, devices: list[str]) -> None:
    """Give nodes without a device that of the first node that reads them; nodes stand in topological order."""
    reader: dict[str, str] = {}
    for number in range(len(graph.node) - 1, -1, -1):
        node = graph.node[number]
        if not devices[number]:
            devices[number] = next((reader[name] for name in writes(node) if name in reader), "")
        for name in reads(node):
            if devices[number]:
                reader[name] = devices[number]
