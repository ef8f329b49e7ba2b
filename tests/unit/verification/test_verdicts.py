from __future__ import annotations

import numpy as np
import pytest

from mosaic_onnx.verification.differences import Difference, difference
from mosaic_onnx.verification.marks import Marks
from mosaic_onnx.verification.sensitivity import explains
from mosaic_onnx.verification.verdicts import QUANTISATION_STEP, judge, judge_cut, tolerance_of

NOTHING = Marks()
NAN = difference("t", np.array([np.nan]), np.array([1.0]))
SHAPE = Difference("t", problem="its shape is [2], not [1]")


def error(relative: float, tensor: str = "t") -> Difference:
    return difference(tensor, np.array([1.0 + relative, 0]), np.array([1.0, 0]))


def flips(count: int, tensor: str = "t", by: int = 1) -> Difference:
    actual, expected = np.zeros(100, np.int64), np.zeros(100, np.int64)
    actual[:count] = by
    return difference(tensor, actual, expected)


def test_the_loosest_precision_sets_the_tolerance() -> None:
    assert tolerance_of(["f32"]) == 1e-4
    assert tolerance_of(["f32", "f16"]) == 1e-2
    assert tolerance_of(["f16", "bf16", "f32"]) == 2e-2
    assert tolerance_of([]) == 1e-4
    assert tolerance_of(["int8"]) == QUANTISATION_STEP


def test_within_and_beyond_the_tolerance() -> None:
    assert judge(error(0.9e-4), 1e-4, NOTHING, []).verdict == "within"
    assert judge(error(1.1e-4), 1e-4, NOTHING, []).verdict == "failed"
    assert judge(error(0), 1e-4, NOTHING, []).verdict == "equal"


def test_numbers_too_small_to_be_normal_may_be_taken_for_zero() -> None:
    small = np.array([1e-41, 3e-39], np.float32)
    assert judge(difference("t", np.zeros_like(small), small), 1e-4, NOTHING, []).verdict == "within"
    assert judge(difference("t", np.zeros(1), np.array([2e-38])), 1e-4, NOTHING, []).verdict == "failed"


def test_a_small_value_of_a_bounded_function_has_the_rounding_of_a_value_near_one() -> None:
    marks = Marks(bounded=frozenset({"t"}))
    tiny = np.array([0.0, 1e-12], np.float32)
    assert judge(difference("t", tiny + np.float32(1e-7), tiny), 1e-4, marks, []).verdict == "within"
    assert judge(difference("t", tiny + np.float32(1e-7), tiny), 1e-4, NOTHING, []).verdict == "failed"
    assert judge(difference("t", tiny + np.float32(2e-7), tiny), 1e-4, marks, []).verdict == "failed"


def test_a_single_integer_that_differs_fails() -> None:
    assert judge(flips(1), 1e-2, NOTHING, []).verdict == "failed"


def test_after_quantisation_one_step_is_allowed_and_two_are_not() -> None:
    marks = Marks(quantised=frozenset({"t"}), steps={"t": 0.5})
    assert judge(error(0.5), 1e-4, marks, []).verdict == "within"
    assert judge(error(1.0), 1e-4, marks, []).verdict == "failed"
    integers = Marks(quantised=frozenset({"t"}), steps={"t": 1.0})
    assert judge(flips(5, by=1), 1e-4, integers, []).verdict == "within"
    assert judge(flips(5, by=2), 1e-4, integers, []).verdict == "failed"


def test_after_quantisation_an_unknown_step_is_one_of_eight_bits_and_an_index_is_still_an_index() -> None:
    marks = Marks(quantised=frozenset({"t"}))
    assert judge(error(0.9 * QUANTISATION_STEP), 1e-4, marks, []).verdict == "within"
    assert judge(error(1.1 * QUANTISATION_STEP), 1e-4, marks, []).verdict == "failed"
    assert judge(flips(1), 1e-4, marks, []).verdict == "failed"


def test_what_comes_after_a_random_operator_is_named_and_not_compared() -> None:
    marks = Marks(random={"t": ("Bernoulli",)})
    for check in (judge(error(9.0), 1e-4, marks, []), judge_cut(error(9.0), marks)):
        assert check.verdict == "random"
        assert "Bernoulli" in str(check)
    assert judge(Difference("t", problem="its shape is [1], not [2]"), 1e-4, marks, []).verdict == "failed"


def test_an_error_that_rounding_makes_too_is_explained_with_its_figures() -> None:
    asked: list[str] = []

    def moved(name: str, relative: float) -> object:
        def by() -> dict[str, Difference]:
            asked.append(name)
            return {"t": error(relative)}

        return by

    check = judge(error(0.1), 1e-4, NOTHING, [("first", moved("first", 1e-6)), ("second", moved("second", 0.2))])  # type: ignore[list-item]
    assert (check.verdict, asked) == ("explained", ["first", "second"])
    assert check.note == "second: max error 0.2 of the largest value"
    assert judge(error(0.1), 1e-4, NOTHING, [("first", moved("first", 1e-3))]).verdict == "failed"  # type: ignore[list-item]


def test_explanations_are_not_made_for_what_needs_none() -> None:
    def never() -> dict[str, Difference]:
        raise AssertionError

    assert judge(error(1e-6), 1e-4, NOTHING, [("x", never)]).verdict == "within"


def test_beside_an_all_zero_reference_what_is_below_rounding_is_explained_and_more_is_not() -> None:
    for value, verdict in ((1e-9, "explained"), (1e-5, "failed"), (np.nan, "failed")):
        found = difference("t", np.array([value]), np.zeros(1))
        assert judge(found, 1e-4, NOTHING, [], floor=1e-6).verdict == verdict
    assert judge(error(1e-3), 1e-4, NOTHING, [], floor=1.0).verdict == "failed"


def test_a_cut_forgives_nothing() -> None:
    assert judge_cut(error(0), NOTHING).verdict == "equal"
    assert judge_cut(error(1e-12), NOTHING).verdict == "failed"


@pytest.mark.parametrize(
    ("moved", "wrong", "is_enough"),
    [
        (None, error(0.1), False),
        (error(0.02), error(0.1), True),
        (error(0.005), error(0.1), False),
        (flips(1), flips(5), True),
        (flips(1), flips(50), False),
        (flips(5), flips(5, by=100), False),
        (error(5.0), NAN, False),
        (NAN, difference("t", np.array([np.inf]), np.array([1.0])), True),
        (error(5.0), SHAPE, False),
        (SHAPE, Difference("t", problem="its shape is [3], not [1]"), True),
    ],
)
def test_a_disturbance_explains_an_error_only_of_its_own_kind_and_size(
    moved: Difference | None, wrong: Difference, is_enough: bool
) -> None:
    assert explains(moved, wrong) is is_enough
