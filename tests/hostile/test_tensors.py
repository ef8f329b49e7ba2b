"""A tensor that is not what it says is refused by name; every known element type is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from mosaic_onnx.loading.model import open_model
from tests.hostile.attacks import (
    refuse,
    relu_model,
    save,
    sparse_initialiser,
)


def tensor(**fields: object) -> TensorProto:
    return TensorProto(**{"name": "w", "data_type": TensorProto.FLOAT, "dims": [2], **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (tensor(data_type=99, raw_data=bytes(8)), "unknown element type 99"),
        (tensor(data_type=0, raw_data=bytes(8)), "unknown element type 0"),
        (tensor(dims=[2**40, 2**40]), "product does not fit"),
        (tensor(dims=[0, 2**62]), "product does not fit"),
        (tensor(dims=[-2], raw_data=bytes(8)), "negative dimension -2"),
        (tensor(dims=[1] * 2000, raw_data=bytes(4)), "2000 dimensions"),
        (tensor(raw_data=bytes(7)), "needs 8 bytes and has 7"),
        (tensor(raw_data=bytes(9)), "needs 8 bytes and has 9"),
        (tensor(), "needs 8 bytes and has 0"),
        (tensor(float_data=[1.0]), "needs 2 values and has 1"),
        (tensor(float_data=[1.0, 2.0], raw_data=bytes(8)), "stores its data twice"),
        (tensor(int32_data=[1, 2]), "FLOAT and stores its data in int32_data"),
        (tensor(data_type=TensorProto.STRING, raw_data=b"ab"), "strings and has raw data"),
        (tensor(data_type=TensorProto.STRING, string_data=[b"a"]), "needs 2 values and has 1"),
        (tensor(data_type=TensorProto.INT4, raw_data=bytes(2)), "needs 1 bytes and has 2"),
        (tensor(data_type=TensorProto.COMPLEX64, float_data=[1.0, 2.0]), "needs 4 values and has 2"),
        (tensor(raw_data=bytes(8), segment=TensorProto.Segment(begin=0, end=8)), "segments"),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_refused(tmp_path: Path, weight: TensorProto, words: str) -> None:
    error = refuse(save(relu_model(weight=weight), tmp_path), words)
    assert "tensor 'w'" in error.message


def test_a_sparse_tensor_that_unfolds_to_terabytes_is_refused(tmp_path: Path) -> None:
    model = sparse_initialiser(tensor(float_data=[1.0, 2.0]))
    del model.graph.sparse_initializer[0].dims[:]
    model.graph.sparse_initializer[0].dims.extend([2**20, 2**20])
    refuse(save(model, tmp_path), "sparse tensor 'w'.*unfolds to 4398046511104 bytes")


def test_a_sparse_tensor_with_more_values_than_places_is_refused(tmp_path: Path) -> None:
    model = sparse_initialiser(tensor(float_data=[1.0, 2.0]))
    model.graph.sparse_initializer[0].dims[0] = 1
    refuse(save(model, tmp_path), "sparse tensor 'w'.*holds 2 values for 1 places")


def test_every_known_element_type_is_taken(tmp_path: Path) -> None:
    model = relu_model()
    for number, bits in {17: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2, 27: 6, 28: 6}.items():
        raw = bytes(-(-5 * bits // 8))
        model.graph.initializer.add(name=f"t{number}", data_type=number, dims=[5], raw_data=raw)
    model.graph.initializer.add(name="none", data_type=TensorProto.FLOAT, dims=[0, 3])
    model.graph.initializer.add(name="scalar", data_type=TensorProto.FLOAT, raw_data=bytes(4))
    model.ir_version = 13
    model.opset_import[0].version = 25
    assert len(open_model(save(model, tmp_path)).model.graph.initializer) == 13
