"""Element types of 4 and 2 bits: several share a byte in the runtime, each has its own in numpy."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from mosaic_onnx.backends.onnxruntime.types import lies_flat, packed, unpacked

SMALL = {
    TensorProto.INT4: (ml_dtypes.int4, -8, 7),
    TensorProto.UINT4: (ml_dtypes.uint4, 0, 15),
    TensorProto.INT2: (ml_dtypes.int2, -2, 1),
    TensorProto.UINT2: (ml_dtypes.uint2, 0, 3),
}


@pytest.mark.parametrize("element_type", SMALL)
@given(shape=st.lists(st.integers(0, 4), max_size=3), seed=st.integers(0, 9))
def test_what_is_packed_comes_back(element_type: int, shape: list[int], seed: int) -> None:
    dtype, low, high = SMALL[element_type]
    array = np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(dtype)
    data = packed(array, element_type)
    bits = 4 if element_type in (TensorProto.INT4, TensorProto.UINT4) else 2
    assert len(data) == math.ceil(array.size * bits / 8)
    assert np.array_equal(unpacked(data.tobytes(), element_type, array.shape), array)


def test_the_first_element_has_the_lowest_bits() -> None:
    assert packed(np.array([1, 2, 3], ml_dtypes.uint4), TensorProto.UINT4).tolist() == [0x21, 0x03]
    assert packed(np.array([1, 2, 3, 0, 1], ml_dtypes.uint2), TensorProto.UINT2).tolist() == [0b00111001, 0b01]


def test_small_types_and_strings_do_not_lie_flat() -> None:
    assert not any(map(lies_flat, (*SMALL, TensorProto.STRING)))
    assert lies_flat(TensorProto.BFLOAT16)
