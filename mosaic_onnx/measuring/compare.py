"""Does a device compute what the reference computes? One slice's outputs against the reference's tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

TOLERANCE: Mapping[str, float] = {
    "f64": 1e-4,
    "f32": 1e-4,
    "tf32": 1e-2,
    "f16": 1e-2,
    "float16": 1e-2,
    "bf16": 2e-2,
    "bfloat16": 2e-2,
}
"""Largest max|a − b| / max|b| of a floating-point output, by a device's precision or a tensor's type."""
COARSE_TOLERANCE = 1e-1
"""For 8-bit precisions and types, and for operators that quantise: enough to tell a rounding from garbage."""
_EXACT_TYPES = frozenset({"float32", "float64"})
_QUANTISED_KINDS = frozenset({"int8", "uint8"})


def tolerance_of(precision: str, dtypes: Iterable[np.dtype[np.generic]] = (), quantises: bool = False) -> float:
    """The largest relative error that one slice may make.

    Args:
        precision: what the device computes in.
        dtypes: types of the slice's inputs and outputs; 16-bit ones are rounded by every runtime in its own way.
        quantises: the slice has operators that quantise; where a value is rounded to its step differs by runtime.
    """
    if quantises:
        return COARSE_TOLERANCE
    kinds = {dtype.name for dtype in dtypes if is_float(dtype)} - _EXACT_TYPES
    return max(TOLERANCE.get(kind, COARSE_TOLERANCE) for kind in {precision, *kinds})


def relative_error(got: Array, expected: Array) -> float:
    """max|got − expected| / max|expected|; infinity where one is finite and the other is not."""
    a, b = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = float(np.max(np.abs(b[finite])))
    worst = float(np.max(np.abs(a[finite] - b[finite])))
    if worst == 0.0:
        return 0.0
    return worst / largest if largest > 0.0 else float("inf")


def compare(got: Mapping[str, Array], expected: Mapping[str, Array], tolerance: float) -> tuple[float, str]:
    """How far outputs are from the reference.

    Args:
        got: the device's outputs by name.
        expected: the reference's.
        tolerance: the largest relative error of a floating-point output that is no fault.

    Returns:
        The largest relative error over the floating-point outputs, and what is wrong in words; empty where nothing is.
        8-bit integers may be one quantisation step away; all others, and strings, must be equal.
    """
    largest = 0.0
    for name, right in expected.items():
        if name not in got:
            return float("inf"), f"output {name!r} is missing"
        left = np.asarray(got[name])
        if left.shape != right.shape or left.dtype != right.dtype:
            described = f"{left.dtype}{list(left.shape)}, the reference {right.dtype}{list(right.shape)}"
            return float("inf"), f"output {name!r} is {described}"
        if is_float(right.dtype):
            error = relative_error(left, right)
            largest = max(largest, error)
            if error > tolerance:
                return largest, f"output {name!r} {_how_far(error)}"
        elif wrong := _different(left, right):
            return largest, f"output {name!r} differs in {wrong} of {right.size} elements"
    return largest, ""


def _how_far(error: float) -> str:
    if np.isfinite(error):
        return f"is off by {error:.1e} of its largest value"
    return "is not finite, or not zero, where the reference is"


def is_float(dtype: np.dtype[np.generic]) -> bool:
    """Floating point, the types that numpy itself lacks (bfloat16, float8) included."""
    return dtype.kind == "f" or (dtype.kind == "V" and "float" in dtype.name)


def _different(left: Array, right: Array) -> int:
    if right.dtype.name in _QUANTISED_KINDS:
        return int(np.count_nonzero(np.abs(left.astype(np.int64) - right.astype(np.int64)) > 1))
    return int(np.count_nonzero(left != right))
