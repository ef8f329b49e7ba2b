"""Ranges: what two of them allow together, and how they move through sums and products."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mosaic_onnx.loading.ranges.value_range import Range, exactly, up_to

NUMBERS = st.integers(-50, 50)
RANGES = st.tuples(NUMBERS, NUMBERS).map(lambda ends: Range(min(ends), max(ends)))


@given(RANGES, RANGES, NUMBERS)
def test_what_ranges_that_overlap_allow_is_what_lies_in_both(one: Range, other: Range, value: int) -> None:
    met = one.meet(other)
    in_both = max(one.low, other.low) <= value <= min(one.high, other.high)
    if max(one.low, other.low) <= min(one.high, other.high):
        assert (met.low <= value <= met.high) == in_both


def test_of_ranges_that_exclude_each_other_the_narrower_one_counts() -> None:
    assert Range(0, 100).meet(Range(200, 201)) == Range(200, 201)
    assert exactly(3).meet(up_to(2)) == exactly(3)


@given(RANGES, RANGES, NUMBERS)
def test_a_shifted_range_holds_for_every_summand(asked: Range, summand: Range, x: int) -> None:
    allowed = asked.shifted(summand.low, summand.high)
    fits = all(asked.low <= x + c <= asked.high for c in (summand.low, summand.high))
    assert (allowed.low <= x <= allowed.high) == fits


@given(RANGES, NUMBERS.filter(bool), NUMBERS)
def test_a_divided_range_holds_for_the_factor(asked: Range, factor: int, x: int) -> None:
    allowed = asked.divided(factor)
    assert (allowed.low <= x + 0.5 <= allowed.high) == (asked.low <= (x + 0.5) * factor <= asked.high)


def test_a_factor_of_zero_allows_everything() -> None:
    assert exactly(5).divided(0) == Range()
    assert not Range().is_limited


def test_choices_are_joined_and_a_domain_stays_only_where_both_are_one() -> None:
    met = Range(choices=(1.0,)).meet(Range(choices=(1.0, 2.0)))
    assert met.choices == (1.0, 2.0)
    assert not Range(0, 1, domain=True).meet(Range(0, 2)).domain
    assert Range(0, 1, domain=True).meet(Range(0, 2, domain=True)).domain


def test_bounded_means_both_sides() -> None:
    assert up_to(4).is_bounded
    assert not Range(low=0).is_bounded
    assert Range(low=0).is_limited
    assert up_to(-3) == Range(0, 0)
    assert math.isinf(Range().high)
