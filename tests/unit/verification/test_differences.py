from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from mosaic_onnx.verification.differences import difference

F = np.float32


def test_equal_tensors_are_equal_bit_for_bit() -> None:
    found = difference("t", np.array([1, np.nan, -np.inf, 0], F), np.array([1, np.nan, -np.inf, 0], F))
    assert found.is_equal
    assert found.is_within(0.0)


def test_a_last_bit_and_the_sign_of_zero_are_differences_that_a_tolerance_forgives() -> None:
    one = np.array([1, 0], F)
    for other in (np.array([np.nextafter(F(1), F(2)), 0], F), np.array([1, -0.0], F)):
        found = difference("t", other, one)
        assert not found.is_equal
        assert found.differing_count == 1
        assert found.is_within(1e-6)


def test_the_error_is_relative_to_the_largest_value() -> None:
    found = difference("t", np.array([100.1, 1.0], F), np.array([100, 1], F))
    assert found.relative == pytest.approx(1e-3, rel=1e-2)
    assert found.is_within(1.1e-3)
    assert not found.is_within(0.9e-3)


@pytest.mark.parametrize(("actual", "expected"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0), (np.inf, -np.inf)])
def test_a_nan_or_infinity_in_one_only_is_outside_every_tolerance(actual: float, expected: float) -> None:
    found = difference("t", np.array([actual, 1], F), np.array([expected, 1], F))
    assert found.non_finite_count == 1
    assert not found.is_within(math.inf)


def test_anything_beside_an_all_zero_reference_is_infinitely_wrong() -> None:
    found = difference("t", np.array([1e-9], F), np.zeros(1, F))
    assert found.relative == math.inf
    assert not found.is_within(1.0)
    assert difference("t", np.zeros(1, F), np.zeros(1, F)).relative == 0


def test_integers_booleans_and_strings_are_counted() -> None:
    for actual, expected, most in (
        (np.array([1, 5], np.int8), np.array([1, 2], np.int8), 3),
        (np.array([0, 255], np.uint8), np.array([0, 0], np.uint8), 255),
        (np.array([True, False]), np.array([True, True]), 1),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), 1),
    ):
        found = difference("t", actual, expected)
        assert (found.is_discrete, found.differing_count, found.element_count) == (True, 1, 2)
        assert found.max_absolute == most


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.complex64, np.float64])
def test_every_float_type_is_compared(dtype: type) -> None:
    values = np.array([1, 2, 4]).astype(dtype)
    assert difference("t", values, values).is_equal
    found = difference("t", np.array([1, 2, 2]).astype(dtype), values)
    assert found.differing_count == 1
    assert found.relative == 0.5


def test_another_type_or_shape_or_nothing_is_a_problem_in_words() -> None:
    one = np.ones((2, 3), F)
    assert difference("t", None, one).problem == "it was not made"
    assert difference("t", one.astype(np.float64), one).problem == "its type is float64, not float32"
    assert difference("t", one.T, one).problem == "its shape is [3, 2], not [2, 3]"
    assert not difference("t", one.T, one).is_within(math.inf)


def test_scalars_and_empty_tensors_are_compared() -> None:
    for shape in ((), (0, 3)):
        assert difference("t", np.zeros(shape, F), np.zeros(shape, F)).is_equal
        assert difference("t", np.zeros(shape, np.int64), np.zeros(shape, np.int64)).is_equal
    assert difference("t", np.ones((), F), np.zeros((), F)).differing_count == 1
