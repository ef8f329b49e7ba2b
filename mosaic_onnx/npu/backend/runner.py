"""Runs of a slice at an integer NPU's precision, with scales from the inputs that the slice has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array, Place, Runner, SliceModel
from mosaic_onnx.npu.backend.rounding import StoredValues, ranges_of, rounded, with_outputs

Load = Callable[[SliceModel], Runner]


@dataclass
class CalibratingRunner:
    """A slice of an integer NPU: its first inputs are the calibration sample.

    Inputs beyond the range of all seen before are a further sample, which widens the ranges: nothing is cut off.

    Attributes:
        model: the slice in floats.
        stored: the values that are quantised.
        precision: ``int8`` or ``int16``.
        load: compiles a slice for ONNX Runtime's CPU.
        plain: the slice in floats, which says what can be bound.
    """

    model: SliceModel
    stored: StoredValues
    precision: str
    load: Load
    plain: Runner
    _ranges: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)
    _quantised: Runner | None = field(default=None, init=False)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays."""
        return self._calibrated(inputs).run(inputs)

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Bind host arrays; what the inputs' places hold at a call may calibrate."""
        self.plain.bind(inputs, outputs)  # refuses what cannot be bound
        arrays = {name: place for name, place in inputs.items() if isinstance(place, np.ndarray)}
        bound: tuple[Runner, Callable[[], None]] | None = None

        def call() -> None:
            nonlocal bound
            quantised = self._calibrated(arrays)
            if bound is None or bound[0] is not quantised:
                bound = quantised, quantised.bind(inputs, outputs)
            bound[1]()

        return call

    def _calibrated(self, inputs: Mapping[str, Array]) -> Runner:
        """Return the quantised slice, made anew where these inputs are the first or lie beyond those before."""
        own = ranges_of({name: inputs[name] for name in self.stored.inputs if name in inputs})
        if self._quantised is not None and all(_holds(self._ranges[name], own[name]) for name in own):
            return self._quantised
        self.plain.run(inputs)  # refuses wrong inputs with the slice's own words
        watched = self.load(with_outputs(self.model, self.stored.made))
        try:
            made = watched.run(inputs)
        finally:
            watched.close()
        seen = own | ranges_of({name: made[name] for name in self.stored.made})
        self._ranges = {name: _widened(self._ranges.get(name, (0.0, 0.0)), seen[name]) for name in seen}
        if self._quantised is not None:
            self._quantised.close()
        self._quantised = self.load(rounded(self.model, self.stored, self.precision, self._ranges))
        return self._quantised

    def assignment(self) -> Mapping[str, str] | None:
        """Return the provider that runs each node: ONNX Runtime's CPU provider."""
        return self.plain.assignment()

    def close(self) -> None:
        """Close the sessions."""
        self.plain.close()
        if self._quantised is not None:
            self._quantised.close()


def _holds(known: tuple[float, float], seen: tuple[float, float]) -> bool:
    return known[0] <= seen[0] and seen[1] <= known[1]


def _widened(known: tuple[float, float], seen: tuple[float, float]) -> tuple[float, float]:
    return min(known[0], seen[0]), max(known[1], seen[1])
