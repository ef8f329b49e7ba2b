from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from mosaic_onnx.measuring.compare import COARSE_TOLERANCE, compare, relative_error, tolerance_of


def one(got: object, expected: object, tolerance: float = 1e-4) -> tuple[float, str]:
    return compare({"y": np.asarray(got)}, {"y": np.asarray(expected)}, tolerance)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_equal_outputs_have_no_error() -> None:
    assert one(floats(1, 2), floats(1, 2)) == (0.0, "")


def test_the_error_is_relative_to_the_largest_value() -> None:
    assert relative_error(floats(100, 1.5), floats(100, 1.0)) == pytest.approx(0.005)


@pytest.mark.parametrize(("precision", "passes"), [("f32", False), ("bf16", True), ("f16", True)])
def test_the_devices_precision_sets_the_tolerance(precision: str, passes: bool) -> None:
    error, wrong = one(floats(1.005), floats(1.0), tolerance_of(precision))
    assert error == pytest.approx(0.005, rel=1e-3)
    assert (wrong == "") is passes


def test_the_same_infinities_and_nans_are_equal() -> None:
    values = floats(np.inf, -np.inf, np.nan, 1.0)
    assert one(values, values) == (0.0, "")


@pytest.mark.parametrize("got", [np.inf, np.nan])
def test_an_overflow_that_the_reference_has_not_is_wrong(got: float) -> None:
    assert one(floats(got), floats(1.0))[1]


def test_infinities_of_unlike_sign_are_wrong() -> None:
    assert one(floats(np.inf), floats(-np.inf))[1]


def test_something_where_all_should_be_zero_is_wrong() -> None:
    assert one(floats(0.1), floats(0.0))[1]


def test_integers_must_be_equal() -> None:
    assert one(np.array([1, 2]), np.array([1, 2])) == (0.0, "")
    assert "1 of 2" in one(np.array([1, 3]), np.array([1, 2]))[1]


def test_eight_bit_integers_may_be_one_step_away() -> None:
    assert one(np.array([0, 255], np.uint8), np.array([1, 254], np.uint8))[1] == ""
    assert one(np.array([0, 253], np.uint8), np.array([1, 255], np.uint8))[1]


def test_strings_must_be_equal() -> None:
    assert one(np.array(["a"], object), np.array(["a"], object))[1] == ""
    assert one(np.array(["b"], object), np.array(["a"], object))[1]


def test_bfloat16_counts_as_floating_point() -> None:
    error, wrong = one(np.array([1.0], ml_dtypes.bfloat16), np.array([1.0078125], ml_dtypes.bfloat16), 2e-2)
    assert 0 < error < 0.01
    assert wrong == ""


def test_another_shape_or_type_is_said() -> None:
    assert "float32[1, 2]" in one(floats(1, 2).reshape(1, 2), floats(1, 2))[1]
    assert "float64" in one(np.array([1.0]), floats(1))[1]


def test_a_missing_output_is_said() -> None:
    assert "'y' is missing" in compare({}, {"y": floats(1)}, 1e-4)[1]


def test_what_the_reference_does_not_hold_is_not_compared() -> None:
    assert compare({"y": floats(1), "random": floats(9)}, {"y": floats(1)}, 1e-4) == (0.0, "")


def test_empty_outputs_are_equal() -> None:
    assert one(np.empty((0, 3), np.float32), np.empty((0, 3), np.float32)) == (0.0, "")


def test_sixteen_bit_tensors_loosen_the_tolerance_of_an_exact_device() -> None:
    assert tolerance_of("f32", [np.dtype(np.float32), np.dtype(np.int64)]) == 1e-4
    assert tolerance_of("f32", [np.dtype(np.float16)]) == 1e-2
    assert tolerance_of("f16", [np.dtype(ml_dtypes.bfloat16)]) == 2e-2


def test_what_quantises_is_only_held_against_garbage() -> None:
    assert tolerance_of("f32", quantises=True) == COARSE_TOLERANCE
    assert tolerance_of("int8") == COARSE_TOLERANCE
