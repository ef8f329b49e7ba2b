"""The communication estimator (Equations 1 and 2): copying T bytes takes α·T + β seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.core.errors import ModelError

Points = Iterable[tuple[float, float]]
"""(bytes, seconds) pairs."""


@dataclass(frozen=True)
class CopyFit:
    """A fitted line and its errors.

    Attributes:
        seconds_per_byte: α; never negative.
        seconds: β; never negative.
        r_squared: share of the seconds' variance that the line explains; below 0 where the mean explains more.
        residuals: (bytes, predicted / measured - 1) of every point.
    """

    seconds_per_byte: float
    seconds: float
    r_squared: float
    residuals: tuple[tuple[float, float], ...]

    def predict(self, byte_count: float) -> float:
        """Return the seconds to copy so many bytes (Equations 1 and 2)."""
        return self.seconds_per_byte * byte_count + self.seconds

    @property
    def worst_error(self) -> float:
        """Return the largest absolute relative residual."""
        return max((abs(residual) for _, residual in self.residuals), default=0.0)


@dataclass(frozen=True)
class PieceFit:
    """Lines for ascending ranges of sizes, for memories whose speed changes with the size (caches, staging buffers).

    Attributes:
        limits_bytes: the last size of each range but the last.
        pieces: one line a range.
    """

    limits_bytes: tuple[float, ...]
    pieces: tuple[CopyFit, ...]

    def predict(self, byte_count: float) -> float:
        """Return the seconds to copy so many bytes, by the line of its range."""
        index = int(np.searchsorted(self.limits_bytes, byte_count, side="left"))
        return self.pieces[index].predict(byte_count)


def fit_line(points: Points) -> CopyFit:
    """Fit Equation 1 (or 2) by least *relative* squares with α, β ≥ 0.

    A plain least-squares line follows the largest tensors and can predict negative seconds for small ones; here every
    point counts by its relative error, and no coefficient can become negative.

    Args:
        points: (bytes, seconds); repeated sizes are fine; points that took no time are left out.

    Raises:
        ModelError: fewer than two points took time.
    """
    sizes, seconds = _arrays(points)
    design = np.stack([sizes / seconds, 1.0 / seconds], axis=1)
    slope, start = nonnegative_fit(design, np.ones_like(seconds))
    return _judged(slope, start, sizes, seconds)


def fit_pieces(points: Points, piece_count: int = 2, min_points: int = 3) -> PieceFit:
    """Fit lines over ascending ranges of sizes; the ranges are those with the least sum of relative squares.

    Ranges are cut between measured sizes. There are fewer pieces where the points do not suffice.

    Args:
        points: as ``fit_line``.
        piece_count: at most so many ranges (1 or 2).
        min_points: distinct sizes that each range needs.

    Raises:
        ModelError: fewer than two points took time.
    """
    sizes, seconds = _arrays(points)
    whole = fit_line(zip(sizes, seconds, strict=True))
    distinct = np.unique(sizes)
    best = PieceFit((), (whole,))
    least = _squares(whole)
    if piece_count < 2:
        return best
    for cut in range(min_points, len(distinct) - min_points + 1):
        limit = distinct[cut - 1]
        below = sizes <= limit
        left = fit_line(zip(sizes[below], seconds[below], strict=True))
        right = fit_line(zip(sizes[~below], seconds[~below], strict=True))
        squares = _squares(left) + _squares(right)
        if squares < least:
            best, least = PieceFit((float(limit),), (left, right)), squares
    return best


def nonnegative_fit(design: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the least-squares solution with coefficients ≥ 0.

    Args:
        design: [points, coefficients]; columns may differ in scale by many orders.
        target: [points].
    """
    from scipy.optimize import nnls

    scale = np.linalg.norm(design, axis=0)
    scale[scale == 0] = 1.0
    coefficients, _ = nnls(design / scale, target)
    return tuple(float(value) for value in coefficients / scale)


def _arrays(points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    kept = [(float(size), float(seconds)) for size, seconds in points if seconds > 0]
    if len(kept) < 2:
        raise ModelError(f"a line needs two measured points, {len(kept)} took any time", "measure more sizes")
    array = np.array(kept, dtype=np.float64)
    return array[:, 0], array[:, 1]


def _judged(slope: float, start: float, sizes: NDArray[np.float64], seconds: NDArray[np.float64]) -> CopyFit:
    predicted = slope * sizes + start
    spread = float(((seconds - seconds.mean()) ** 2).sum())
    missed = float(((seconds - predicted) ** 2).sum())
    r_squared = 1.0 - missed / spread if spread > 0 else 1.0
    residuals = tuple((float(size), float(error)) for size, error in zip(sizes, predicted / seconds - 1, strict=True))
    return CopyFit(slope, start, r_squared, residuals)


def _squares(fit: CopyFit) -> float:
    return sum(residual**2 for _, residual in fit.residuals)
