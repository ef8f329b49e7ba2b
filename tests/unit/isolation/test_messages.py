from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.isolation.messages import (
    device_from_json,
    device_to_json,
    read_slice,
    read_tensors,
    write_slice,
    write_tensors,
)
from tests.unit.backends.helpers import unary


def through_json(value: object) -> object:
    return json.loads(json.dumps(value))


def test_a_device_comes_back_as_it_went() -> None:
    device = Device("npu", backend="b", precision="f16", levels=(Level("1GHz", 1e9, 0.8),), options={"threads": 2})
    assert device_from_json(through_json(device_to_json(device))) == device


def test_a_slice_comes_back_as_it_went(tmp_path: Path) -> None:
    model = unary("Relu")
    back = read_slice(through_json(write_slice(model, tmp_path / "slice.onnx")))
    assert (back.model, back.folder, back.inputs, back.outputs) == (model.model, None, model.inputs, model.outputs)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array(3, np.int64),
        np.array([True, False]),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array([1, -8], ml_dtypes.int4),
        np.empty((0, 4), np.float16),
        np.arange(6, dtype=np.float64).reshape(2, 3).T,
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_a_tensor_comes_back_as_it_went(tmp_path: Path, array: np.ndarray) -> None:
    tensors = {"first": np.ones(3, np.uint8), "a/b:0": array}
    back = read_tensors(through_json(write_tensors(tensors, tmp_path / "tensors")))
    assert list(back) == list(tensors)
    assert back["a/b:0"].dtype == array.dtype
    assert back["a/b:0"].shape == array.shape
    assert back["a/b:0"].tobytes() == array.tobytes()


def test_strings_come_back_as_they_went(tmp_path: Path) -> None:
    text = np.array([["a", "käse"]], dtype=object)
    back = read_tensors(through_json(write_tensors({"text": text}, tmp_path / "tensors")))["text"]
    assert back.dtype == object
    assert back.tolist() == text.tolist()
