"""The bound by area: prices that prove it, and tables at the edge of what numbers hold."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mosaic_onnx.planner.throughput.area_bound import Sharing, area_bound


def test_work_of_two_classes_is_divided_where_their_ratio_says() -> None:
    work_s = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]])
    assert area_bound(work_s, [1, 1]).seconds == pytest.approx(2.0)


def test_a_class_of_two_devices_does_twice_the_work() -> None:
    assert area_bound(np.array([[1.0], [2.0], [3.0]]), [2]).seconds == pytest.approx(3.0)


def test_classes_that_exclude_each_other_work_one_after_the_other() -> None:
    work_s = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]])
    assert area_bound(work_s, [1, 1], sharing=[Sharing((0, 1), 1)]).seconds == pytest.approx(4.0)
    assert area_bound(work_s, [2, 2], sharing=[Sharing((0, 1), 2)]).seconds == pytest.approx(2.0)


def test_a_third_class_works_beside_two_that_exclude_each_other() -> None:
    work_s = np.array([[2.0, 3.0, 3.0], [3.0, 2.0, 3.0]])
    assert area_bound(work_s, [1, 1, 1], sharing=[Sharing((0, 1), 1)]).seconds == pytest.approx(2.4)


@pytest.mark.parametrize("least_s", [1e-300, 1e-310, 5e-324])
def test_pieces_of_nearly_no_seconds_on_one_class_overflow_nothing(least_s: float) -> None:
    work_s = np.array([[least_s, 1e9], [least_s, 2e9], [3.0, 4.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound_s = area_bound(work_s, [1, 1]).seconds
    assert 0.0 < bound_s <= 3.0
