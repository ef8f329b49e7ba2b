from __future__ import annotations

import numpy as np

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement, SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.measuring.tolerance import with_verdict
from mosaic_onnx.verification.differences import difference
from tests.unit.backends.helpers import slice_of, unary


def verdict(model: SliceModel, x: Array, made: Array, expected: Array, precision: str = "f32") -> str:
    measurement = SliceMeasurement(seconds=1.0, differences=(difference("y", made, expected),))
    after = with_verdict(measurement, model, SliceTrial({"x": x}, {"y": expected}, TimeBudget()), precision)
    assert after.differences == ()
    assert after.seconds == 1.0
    return after.wrong


X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def test_what_is_within_the_tolerance_is_sound() -> None:
    assert verdict(unary("Neg"), X, -X * np.float32(1 + 1e-5), -X) == ""


def test_garbage_is_wrong_in_words() -> None:
    assert "y: max error 2 of the largest value" in verdict(unary("Neg"), X, X, -X)


def test_the_devices_precision_counts() -> None:
    rough = -X * np.float32(1.01)
    assert verdict(unary("Neg"), X, rough, -X, "bf16") == ""
    assert verdict(unary("Neg"), X, rough, -X, "f32") != ""


def test_what_rounding_alone_moves_is_sound() -> None:
    x = np.full((2, 3), 3e4, np.float32)  # its sine moves by a thousandth with the last bits of x
    expected = np.sin(x)
    assert verdict(unary("Sin"), x, expected + np.float32(3e-3), expected) == ""


def test_beside_an_all_zero_reference_a_rounding_of_what_it_is_made_from_is_sound() -> None:
    zeros = np.zeros_like(X)
    assert verdict(unary("Relu"), -X, zeros + np.float32(1e-7), zeros) == ""
    assert verdict(unary("Relu"), -X, zeros + np.float32(1e-4), zeros) != ""


def test_what_a_runtime_leaves_of_a_saturated_sigmoid_is_sound() -> None:
    x = np.full((2, 3), -120.0, np.float32)
    assert verdict(unary("Sigmoid"), x, np.full_like(x, 4.5e-9), np.zeros_like(x)) == ""


def test_random_operators_cannot_be_compared() -> None:
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 21]> g (float[2,3] x) => (float[2,3] y) { y = RandomNormalLike(x) }'
    )
    assert verdict(model, X, X, -X) == ""
