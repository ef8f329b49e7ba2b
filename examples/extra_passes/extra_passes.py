"""Three passes from outside: a rewriting before layers form, a cost model instead of measuring, a check at the end.

Install the package beside mosaic-onnx, and name what is wanted::

    mosaic-onnx compile model.onnx --pass drop-identities --pass cross-check
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime

from mosaic_onnx.core.errors import OutputsDifferError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.passes.base import Passes
from mosaic_onnx.passes.editing import configured
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.outside import After, Before, Instead


@dataclass(frozen=True)
class DropIdentities:
    """Remove ``Identity`` nodes of the main graph whose output is not an output of the model."""

    name: ClassVar[str] = "drop_identities"
    requires: ClassVar[tuple[str, ...]] = ("opened",)
    ensures: ClassVar[tuple[str, ...]] = ("opened",)

    def __call__(self, state: State) -> State:
        """Replace the opened model; where there is nothing to remove, it stays the object that it was."""
        graph = state.opened.model.graph
        kept = {value.name for value in graph.output}
        gone = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "Identity" and node.domain in ("", "ai.onnx") and node.output[0] not in kept
        }
        if not gone or any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
            return state  # bodies of loops and branches may read any of these values
        model = onnx.ModelProto()
        model.CopyFrom(state.opened.model)
        nodes = [node for node in model.graph.node if node.output[0] not in gone]
        for node in nodes:
            node.input[:] = [_source(name, gone) for name in node.input]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        return replace(state, opened=state.opened.rewritten(model))


def _source(name: str, gone: dict[str, str]) -> str:
    """Return the value that a chain of removed nodes passes on."""
    while name in gone:
        name = gone[name]
    return name


@dataclass(frozen=True)
class ByteCosts:
    """State what layers cost instead of measuring them: the bytes that they touch over each device's rate.

    Attributes:
        bytes_per_second: of every device.
        start_s: of every layer.
    """

    name: ClassVar[str] = "profile"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "graph", "annotation")
    ensures: ClassVar[tuple[str, ...]] = ("profile",)

    bytes_per_second: float = 5e9
    start_s: float = 2e-6

    def __call__(self, state: State) -> State:
        """Add the profile."""
        graph, devices = state.graph, state.selection.chosen
        sizes = {name: tensor.bytes for name, tensor in graph.tensors.items()}
        layers = []
        for layer, reasons in zip(graph.layers, state.annotation.reasons, strict=True):
            touched = layer.parameter_bytes + sum(sizes[name] for name in (*layer.inputs, *layer.outputs))
            cost = Cost(self.start_s + touched / self.bytes_per_second, source="modelled")
            states = [name for device in devices if device.name not in reasons for name in device.states]
            layers.append(
                ProfileLayer(
                    layer.name,
                    layer.inputs,
                    layer.outputs,
                    dict.fromkeys(states, cost),
                    reasons=dict(reasons),
                    parameter_bytes=layer.parameter_bytes,
                    activation_bytes=layer.activation_bytes,
                    nodes=layer.nodes,
                    op_types=layer.op_types,
                )
            )
        profile = Profile(state.path.stem, devices, sizes, graph.inputs, graph.outputs, tuple(layers))
        return replace(state, profile=profile)


@dataclass(frozen=True)
class CrossCheck:
    """Compare the partitioned model with the model's file, both as stock ONNX Runtime runs them.

    Attributes:
        tolerance: largest error relative to an output's largest value.
    """

    name: ClassVar[str] = "cross_check"
    requires: ClassVar[tuple[str, ...]] = ("path", "inputs", "delivered")
    ensures: ClassVar[tuple[str, ...]] = ()

    tolerance: float = 1e-4

    def __call__(self, state: State) -> State:
        """Return the state as it is.

        Raises:
            OutputsDifferError: an output is too far off.
        """
        canonical = state.delivered.canonical
        names = [value.name for value in canonical.model.graph.output]
        expected = _session(str(state.path), canonical.folder).run(names, dict(state.inputs))
        made = _session(canonical.model.SerializeToString(), canonical.folder).run(names, dict(state.inputs))
        for name, one, other in zip(names, expected, made, strict=True):
            if not np.allclose(one, other, rtol=0, atol=self.tolerance * max(np.abs(one).max(initial=0), 1e-30)):
                raise OutputsDifferError(f"{state.path.name}: output {name} differs from the file's")
        state.note(f"cross-check: {len(names)} outputs are those of {state.path.name}")
        return state


def _session(model: str | bytes, folder: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if isinstance(model, bytes):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _without_measuring(passes: Passes) -> Passes:
    """Let the planner's first answer stand: no slice is measured."""
    return configured(passes, {"round_limit": 0})


DROP_IDENTITIES = Before("normalise", DropIdentities())
BYTE_COSTS = (Instead("profile", ByteCosts()), _without_measuring)
CROSS_CHECK = After("verify", CrossCheck())
