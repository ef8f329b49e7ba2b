"""Models cut by node keys, opened on ONNX Runtime's CPU provider, ready to be verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import onnx
from onnx import parser

from mosaic_onnx.backends.base import Array, Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.graph.graphs import is_constant, node_keys
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.loading.inputs import make_inputs, model_inputs
from mosaic_onnx.rewriting.rewrite import extract
from mosaic_onnx.runtime.executor import open_program
from mosaic_onnx.verification.report import VerifyReport
from mosaic_onnx.verification.verify import Progress, Verifiable, Verifier

CPU = Device("cpu", backend="onnxruntime", options={"threads": 1})
Spoil = Callable[[SliceModel], SliceModel]


def typed(graph: str, opset: int = 17) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {graph}')
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def cut(model: onnx.ModelProto, *lengths: int) -> list[SliceModel]:
    """Slices of so many nodes each, the rest in the last."""
    keys = [key for key, node in zip(node_keys(model.graph), model.graph.node, strict=True) if not is_constant(node)]
    slices = []
    for length in (*lengths, len(keys) - sum(lengths)):
        slices.append(extract(model, None, keys[:length]))
        keys = keys[length:]
    return slices


def changed(one: SliceModel, change: Callable[[onnx.GraphProto], None]) -> SliceModel:
    """The slice with its graph changed, in a copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(one.model)
    change(copy.graph)
    return replace(one, model=copy)


class OtherBackend:
    """ONNX Runtime under another name, its slices spoiled before they are loaded: a device that computes wrongly."""

    name = "other"

    def __init__(self, spoil: Spoil) -> None:
        self._spoil = spoil

    def load(self, model: SliceModel, device: Device) -> Runner:
        return BACKEND.load(self._spoil(model), replace(device, backend="onnxruntime"))

    def memory(self, device: Device) -> None:
        return None


def verified(
    model: onnx.ModelProto,
    slices: Sequence[SliceModel],
    *,
    device: Device = CPU,
    backend: object = BACKEND,
    inputs: Mapping[str, Array] | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    plan_slices = tuple(Slice((index,), device.name) for index in range(len(slices)))
    plan = Plan("latency", "sequential", "by hand", plan_slices, (), Predicted(0.0, None, 0.0))
    devices, backends = {device.name: device}, {device.backend: backend}
    with open_program(
        slices,
        plan,
        devices,
        backends,  # type: ignore[arg-type]
        inputs=[value.name for value in model_inputs(model)],
        outputs=[value.name for value in model.graph.output],
    ) as program:
        given = make_inputs(model) if inputs is None else inputs
        return Verifier(tolerance, progress)(Verifiable(model, None, slices, program, devices, given))
