"""Annotate layers: the devices that can run each layer, and the reasons why others cannot.

A backend's claim is cheap and may be wrong; on request it is checked by compiling. Profiling runs and compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import onnx

from mosaic_onnx.backends.base import Backend, CostSource, LimitsModelSize
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError, failure_line
from mosaic_onnx.core.graph.graphs import FunctionKey, call_key, function_key, node_keys, subgraphs
from mosaic_onnx.core.graph.layer_facts import LayerFacts, layer_facts
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.isolation.backend import IsolatedBackend
from mosaic_onnx.isolation.board.backend import BoardBackend
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.measuring.meter import open_meter
from mosaic_onnx.profiling.measuring.probing import compile_refusals
from mosaic_onnx.profiling.progress import Progress, Ticker
from mosaic_onnx.profiling.setup import ProfileOptions, open_profiled_model, open_store


@dataclass(frozen=True)
class Annotation:
    """The backends' claims on each layer and device.

    Attributes:
        graph: the layers.
        reasons: [L] by device name, why it cannot run the layer; a device that is absent may.
        is_probed: claims were checked by compiling.
    """

    graph: LayerGraph
    reasons: tuple[Mapping[str, str], ...]
    is_probed: bool = False

    def refused(self, device: str) -> dict[int, str]:
        """Return, by layer, why a device cannot run it."""
        return {index: reasons[device] for index, reasons in enumerate(self.reasons) if device in reasons}


def annotate(
    normalised: Normalised,
    graph: LayerGraph,
    devices: Sequence[Device],
    backends: Mapping[str, Backend],
    options: ProfileOptions | None = None,
    progress: Progress | None = None,
) -> Annotation:
    """Return the backends' claims, checked by compiling on request.

    Args:
        normalised: the model.
        graph: its layers.
        devices: the devices to ask about.
        backends: by name.
        options: how to check the claims by compiling; None does not check.
        progress: called with the progress.

    Raises:
        BackendError: a device's backend is not installed.
    """
    found: dict[str, dict[int, str]] = {}
    facts: tuple[LayerFacts, ...] = ()
    for device in devices:
        backend = backend_of(device, backends)
        if isinstance(backend, CostSource):
            facts = facts or layer_facts(graph, normalised.model)
            found[device.name] = _stated_refusals(facts, device, backend)
        else:
            found[device.name] = refusals(normalised, graph, device, backend)
    if options is not None:
        profiled = open_profiled_model(normalised.model, normalised.folder, graph, options)
        ticker = Ticker(progress, "annotate")
        for device in devices:
            backend = backend_of(device, backends)
            if isinstance(backend, CostSource):
                continue
            with closing(open_meter(backend, device, options.limit_s)) as meter:
                store = open_store(profiled, device, None, options, meter.machine())
                found[device.name] = compile_refusals(profiled, found[device.name], meter, store, ticker)
    reasons = tuple(
        {name: refused[index] for name, refused in found.items() if index in refused}
        for index in range(len(graph.layers))
    )
    return Annotation(graph, reasons, is_probed=options is not None)


def backend_of(device: Device, backends: Mapping[str, Backend]) -> Backend:
    """Return the backend that runs a device.

    Raises:
        BackendError: it is not installed.
    """
    if device.backend not in backends:
        known = ", ".join(sorted(backends)) or "none"
        raise BackendError(f"device {device.name}: there is no backend {device.backend!r}", f"installed: {known}")
    return backends[device.backend]


def refusals(normalised: Normalised, graph: LayerGraph, device: Device, backend: Backend) -> dict[int, str]:
    """Return {layer: why a measured device cannot run it}, as far as its backend tells without compiling.

    Raises:
        BackendError: the device belongs to another machine, which cannot be used.
    """
    model = normalised.model
    if isinstance(backend, LimitsModelSize) and (reason := backend.too_large(len(model.graph.node), device)):
        return dict.fromkeys(range(len(graph.layers)), reason)
    nodes = dict(zip(node_keys(model.graph), model.graph.node, strict=True))
    functions = {function_key(function): function for function in model.functions}
    leaves = {key: list(_leaves(node, functions)) for key, node in nodes.items()}
    try:
        claims = iter(_claims(backend, [leaf for each in leaves.values() for leaf in each], device))
    except BackendError as error:
        if device.host:  # the user named it, and nothing of it can be used
            raise BackendError(error.message, error.hint) from error
        # It crashed, hung, or broke its contract: the other devices go on without it.
        return dict.fromkeys(range(len(graph.layers)), error.message)
    reasons = {key: [next(claims) for _ in each] for key, each in leaves.items()}
    refused = {}
    for index, layer in enumerate(graph.layers):
        for key in layer.nodes:
            reason = next(filter(None, reasons[key]), "")
            if reason:
                refused[index] = f"{nodes[key].op_type} ({key}): {reason}"
                break
    return refused


def _claims(backend: Backend, nodes: Sequence[onnx.NodeProto], device: Device) -> list[str | None]:
    """Return a backend's claims on each node.

    Raises:
        BackendError: it raised something, or its process crashed or hung; the message names the device.
    """
    if device.host:
        with closing(BoardBackend(backend, device)) as board:
            return board.claims(nodes)
    if isinstance(backend, IsolatedBackend):
        return backend.claims(nodes, device)
    try:
        return [backend.supports(node, device) for node in nodes]
    except UsageError:  # the device's options are wrong
        raise
    except Exception as failure:  # a foreign backend may raise anything
        raise BackendError(f"device {device.name}: {failure_line(failure)} (its claims)") from failure


def _stated_refusals(facts: Sequence[LayerFacts], device: Device, backend: CostSource) -> dict[int, str]:
    """Return {layer: why a described device cannot run it}."""
    costs = backend.layer_costs(facts, device, device.states[-1])
    return {index: cost for index, cost in enumerate(costs) if isinstance(cost, str)}


def _leaves(node: onnx.NodeProto, functions: Mapping[FunctionKey, onnx.FunctionProto]) -> Iterator[onnx.NodeProto]:
    """Yield the node and the nodes of its bodies; a call is replaced by the nodes of its function."""
    function = functions.get(call_key(node))
    if function is not None:
        for inner in function.node:
            yield from _leaves(inner, functions)
        return
    yield node
    for body in subgraphs(node):
        for inner in body.node:
            yield from _leaves(inner, functions)
