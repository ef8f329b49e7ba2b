"""The execution estimator (section V-B.2): a layer's time over a device's frequencies, t = γ/f + ε (Equation 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.profiling.estimators.communication import CopyFit, nonnegative_fit

LevelPoints = Iterable[tuple[float, float]]
"""(frequency in hertz, seconds) pairs."""


@dataclass(frozen=True)
class LayerTime:
    """The time of one layer on one device over frequency (Equation 3).

    Attributes:
        gamma: cycles (seconds × hertz), whose time depends on the clock; never negative.
        epsilon: seconds that do not depend on the clock; never negative.
    """

    gamma: float
    epsilon: float

    def predict(self, frequency_hz: float) -> float:
        """Return the seconds at a frequency (Equation 3)."""
        return self.gamma / frequency_hz + self.epsilon


def fit_levels(points: LevelPoints) -> LayerTime:
    """Fit Equation 3 by least relative squares with γ, ε ≥ 0.

    From two frequencies, as MOSAIC profiles, this is the line through both means; more samples a frequency, and more
    frequencies, are averaged. Where a device gets *slower* with a faster clock, the nearest legal line is a constant.

    Args:
        points: (frequency in hertz, seconds), at two frequencies at least.

    Raises:
        ModelError: there are fewer than two frequencies, or a value is not positive.
    """
    kept = np.array([(float(frequency), float(seconds)) for frequency, seconds in points], dtype=np.float64)
    if kept.size == 0 or len(np.unique(kept[:, 0])) < 2:
        raise ModelError("Equation 3 needs a layer's time at two frequencies", "measure lowest and highest level")
    if not (kept > 0).all():
        raise ModelError("frequencies and seconds must be positive")
    frequency, seconds = kept.T
    design = np.stack([1.0 / (frequency * seconds), 1.0 / seconds], axis=1)
    gamma, epsilon = nonnegative_fit(design, np.ones_like(seconds))
    return LayerTime(gamma, epsilon)


def execution_seconds(
    total_s: float, received: tuple[CopyFit, float] | None, sent: tuple[CopyFit, float] | None
) -> float:
    """Return execution = total − communication (section V-B.2), never below 0.

    Args:
        total_s: measured seconds of the layer with its inputs coming from and its outputs going to host.
        received: the line of copies into the device, and the bytes of the layer's inputs; None where nothing is copied.
        sent: the line of copies out of it, and the bytes of the layer's outputs.
    """
    copies_s = sum(fit.predict(byte_count) for fit, byte_count in filter(None, (received, sent)))
    return max(total_s - copies_s, 0.0)
