"""One SqueezeNet over four devices of four vendors, in one process, by their runners alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import helper, utils

from mosaic_onnx.backends.base import Backend, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.registry import backends, find_all
from tests.unit.backends.helpers import seeded_squeezenet

FIRES = ("r16", "r31", "r53")
"""Tensors between the slices: what fire modules 3, 5 and 8 make."""


def cut(model: onnx.ModelProto) -> list[SliceModel]:
    """Four slices, one after the other."""
    ends = [model.graph.input[0].name, *FIRES, model.graph.output[0].name]
    extractor = utils.Extractor(model)
    return [
        SliceModel(extractor.extract_model([start], [end]), None, (start,), (end,)) for start, end in pairwise(ends)
    ]


def empty(model: SliceModel) -> np.ndarray:
    tensor = model.model.graph.output[0].type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]
    return np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))


@pytest.mark.provider("openvino")
@pytest.mark.provider("qnn")
@pytest.mark.provider("webgpu")
def test_four_devices_run_one_squeezenet_in_one_process() -> None:
    squeezenet = seeded_squeezenet()
    found, all_backends = find_all().devices, backends()
    devices: list[tuple[Backend, Device]] = [
        (all_backends[found[name].backend], found[name]) for name in ("cpu", "openvino", "qnn", "webgpu")
    ]
    slices = cut(squeezenet)
    runners = [backend.load(piece, device) for piece, (backend, device) in zip(slices, devices, strict=True)]
    start, end = slices[0].inputs[0], slices[-1].outputs[0]
    x = np.zeros((1, 3, 224, 224), np.float32)
    between = [empty(piece) for piece in slices]

    memory = devices[-1][0].memory(devices[-1][1])
    assert memory is not None
    on_gpu = memory.allocate(between[2].dtype, between[2].shape)
    from_gpu = memory.allocate(between[3].dtype, between[3].shape)
    calls = [
        runners[0].bind({start: x}, {FIRES[0]: between[0]}),
        runners[1].bind({FIRES[0]: between[0]}, {FIRES[1]: between[1]}),
        runners[2].bind({FIRES[1]: between[1]}, {FIRES[2]: between[2]}),
        lambda: on_gpu.upload(between[2]),
        runners[3].bind({FIRES[2]: on_gpu}, {end: from_gpu}),
        lambda: from_gpu.download(between[3]),
    ]
    whole = ORT.load(SliceModel(squeezenet, None, (start,), (end,)), Device("cpu", options={"threads": 1}))
    for seed in (1, 2):
        x[...] = np.random.default_rng(seed).standard_normal(x.shape)
        for call in calls:
            call()
        expected = whole.run({start: x})[end]
        assert np.abs(between[3] - expected).max() <= 1e-2 * np.abs(expected).max()
        assert expected.std() > 0
    assert [set((runner.assignment() or {"": "OpenVINO"}).values()) for runner in runners] == [
        {"CPUExecutionProvider"},
        {"OpenVINO"},
        {"QNNExecutionProvider"},
        {"WebGpuExecutionProvider"},
    ]
