"""The difference of two tensors: bits, largest error relative to the largest value, NaN and infinities, integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.backends.base import Array


@dataclass(frozen=True)
class Difference:
    """The difference of one tensor from the reference's.

    Attributes:
        tensor: its name.
        max_absolute: largest |a − b| over elements that are finite in both; 0 for strings.
        scale: largest finite |b| of the reference.
        differing_count: elements whose bits differ (NaN equals NaN).
        non_finite_count: elements where one is NaN or infinite and the other is not the same.
        element_count: elements of the reference.
        is_discrete: integers, booleans or strings, which have no rounding errors.
        problem: a difference of type or shape, in words; empty where there is none.
    """

    tensor: str
    max_absolute: float = 0.0
    scale: float = 0.0
    differing_count: int = 0
    non_finite_count: int = 0
    element_count: int = 0
    is_discrete: bool = False
    problem: str = ""

    @property
    def is_equal(self) -> bool:
        """Return whether the tensors are bit-identical (NaN equals NaN)."""
        return not self.problem and self.differing_count == 0

    @property
    def relative(self) -> float:
        """Return max|a − b| / max|b|; infinite where the reference is all zero and the other is not."""
        if self.max_absolute == 0:
            return 0.0
        return self.max_absolute / self.scale if self.scale else math.inf

    def is_within(self, relative: float, absolute: float = 0.0) -> bool:
        """Return whether max|a − b| ≤ max(relative · max|b|, absolute), with no other difference."""
        if self.problem or self.non_finite_count:
            return False
        return self.max_absolute <= max(relative * self.scale, absolute)

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        if self.is_equal:
            return "equal"
        if self.is_discrete:
            return f"{self.differing_count} of {self.element_count} elements differ"
        against = "of the largest value" if self.scale else "beside zeros"
        text = f"max error {self.relative if self.scale else self.max_absolute:.2g} {against}"
        if self.non_finite_count:
            text += f", {self.non_finite_count} elements are NaN or infinite in one of the two only"
        return text


def difference(tensor: str, actual: Array | None, expected: Array) -> Difference:
    """Return the difference of a tensor from the reference's.

    Args:
        tensor: its name.
        actual: the tensor; None where it was not produced.
        expected: the reference's.
    """
    size = int(expected.size)
    if actual is None:
        return Difference(tensor, element_count=size, problem="it was not made")
    actual = np.asarray(actual)
    if actual.dtype != expected.dtype:
        return Difference(tensor, element_count=size, problem=f"its type is {actual.dtype}, not {expected.dtype}")
    if actual.shape != expected.shape:
        problem = f"its shape is {list(actual.shape)}, not {list(expected.shape)}"
        return Difference(tensor, element_count=size, problem=problem)
    if expected.dtype.kind in "OUSb":
        differing = int(np.count_nonzero(actual != expected))
        return Difference(tensor, float(differing > 0), 1.0, differing, 0, size, True)
    if _is_integer(expected):
        return _discrete(tensor, actual, expected)
    return _continuous(tensor, actual, expected)


def _is_integer(array: Array) -> bool:
    return array.dtype.kind in "iu" or "int" in array.dtype.name


def _discrete(tensor: str, actual: Array, expected: Array) -> Difference:
    differing = actual != expected
    count = int(np.count_nonzero(differing))
    most = 0.0
    if count:
        most = float(np.max(np.abs(_wide(actual[differing]) - _wide(expected[differing]))))
    scale = float(np.max(np.abs(_wide(expected)), initial=0.0))
    return Difference(tensor, most, scale, count, 0, int(expected.size), True)


def _continuous(tensor: str, actual: Array, expected: Array) -> Difference:
    if expected.dtype.kind == "c":
        actual, expected = _parts(actual), _parts(expected)
    a, b = _wide(actual), _wide(expected)
    both_nan = np.isnan(a) & np.isnan(b)
    differing = int(np.count_nonzero(_bits_differ(actual, expected) & ~both_nan))
    finite = np.isfinite(a) & np.isfinite(b)
    same = finite | both_nan | (a == b)
    with np.errstate(all="ignore"):
        most = float(np.max(np.abs(a[finite] - b[finite]), initial=0.0))
    scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0))
    return Difference(tensor, most, scale, differing, int(np.count_nonzero(~same)), int(expected.size))


def _parts(array: Array) -> Array:
    """Return complex numbers as real and imaginary parts in a last axis."""
    return np.stack([array.real, array.imag], axis=-1)


def _wide(array: Array) -> NDArray[np.float64]:
    """Return the array in a type that numpy computes in."""
    return array.astype(np.float64)


def _bits_differ(actual: Array, expected: Array) -> NDArray[np.bool_]:
    """Return [elements] whether any bit differs, so that −0 is not 0."""
    size = expected.dtype.itemsize
    views = [np.ascontiguousarray(each).view(np.uint8).reshape(*expected.shape, size) for each in (actual, expected)]
    return np.asarray((views[0] != views[1]).any(axis=-1))
