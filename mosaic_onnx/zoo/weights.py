"""Sources of a built network's weights: seeded numbers, or only their shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class Weights(Protocol):
    """Creates initialisers."""

    def normal(self, name: str, shape: tuple[int, ...], deviation: float, mean: float = 0.0) -> TensorProto:
        """Return an f32 tensor of independent normal numbers."""


@dataclass(frozen=True)
class SeededWeights:
    """Seeded weights: the same seed gives the same bytes; a network draws them from one stream, in building order."""

    seed: int = 0
    _stream: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stream", np.random.Generator(np.random.PCG64(self.seed)))

    def normal(self, name: str, shape: tuple[int, ...], deviation: float, mean: float = 0.0) -> TensorProto:
        """See ``Weights.normal``."""
        values: NDArray[np.float32] = self._stream.standard_normal(shape, dtype=np.float32)
        values *= np.float32(deviation)
        values += np.float32(mean)
        return numpy_helper.from_array(values, name)


@dataclass(frozen=True)
class ShapesOnly:
    """Weights that name an external file which does not exist: for counting, not for running."""

    location: str = "absent.data"

    def normal(self, name: str, shape: tuple[int, ...], deviation: float, mean: float = 0.0) -> TensorProto:
        """Return an f32 tensor without data."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=self.location)
        tensor.external_data.add(key="length", value=str(4 * prod(shape)))
        return tensor


def he_deviation(fan_in: int, gain: float = 1.0) -> float:
    """Return the deviation that keeps the variance of a ReLU network's activations (He et al. 2015)."""
    return gain * sqrt(2.0 / fan_in)


def integers(name: str, values: list[int]) -> onnx.TensorProto:
    """Return an int64 initialiser (axes, pads)."""
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
