"""Measure the power of each layer on one device, from which its joules follow.

A counter of energy is renewed about every millisecond and counts the whole package, so a layer is repeated alone for
long enough, and the power that the machine draws while idle is taken off. A layer's joules in a profile are that
dynamic power times the layer's seconds in a running slice (MOSAIC, Equation 4).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mosaic_onnx.core.errors import BackendError, ModelError
from mosaic_onnx.core.profiles import Cost
from mosaic_onnx.profiling.energy.joules import Energy
from mosaic_onnx.profiling.measurement_store import MeasurementStore
from mosaic_onnx.profiling.measuring.meter import Meter
from mosaic_onnx.profiling.profiled_model import ProfiledModel
from mosaic_onnx.profiling.progress import Ticker


@dataclass(frozen=True)
class LayerPower:
    """Power of the layers of one state.

    Attributes:
        watts: by layer, dynamic power while it runs; layers that were not measured are absent.
        meter: what was read.
        error: median relative difference between the two halves of each measurement.
        reasons: by layer, why it was not measured.
    """

    watts: Mapping[int, float] = field(default_factory=dict)
    meter: str = ""
    error: float = 0.0
    reasons: Mapping[int, str] = field(default_factory=dict)

    def joules(self, costs: Mapping[int, Cost]) -> dict[int, Cost]:
        """Return the costs with joules; a layer that was not measured takes the median power of those that were."""
        if not self.watts:
            return dict(costs)
        median_w = statistics.median(self.watts.values())
        return {
            layer: replace(cost, joules=self.watts.get(layer, median_w) * cost.seconds) for layer, cost in costs.items()
        }


@dataclass(frozen=True)
class EnergyProfiler:
    """Measures the power of layers in one state of one device.

    Attributes:
        profiled: the model.
        meter: runs slices on the device.
        store: keeps what was measured.
        least_s: how long each layer is repeated.
        idle_w: what the machine draws while idle.
        ticker: told how far it has come.
    """

    profiled: ProfiledModel
    meter: Meter
    store: MeasurementStore
    least_s: float
    idle_w: float
    ticker: Ticker

    def run(self, layers: Sequence[int]) -> LayerPower:
        """Measure layers, those of the same digest once."""
        found: dict[int, Energy] = {}
        reasons: dict[int, str] = {}
        self.ticker.expect(len(layers))
        for layer in layers:
            digest = self.profiled.digest((layer, layer))
            energy = self.store.energy(digest)
            try:
                energy = energy or self._measure(layer)
                self.store.keep_energy(digest, energy)
                if energy.source == "measured":
                    found[layer] = energy
                else:
                    reasons[layer] = energy.meter
            except (BackendError, ModelError) as failure:
                reasons[layer] = failure.message
            self.ticker.end()
        watts = {layer: max((one.watts or 0.0) - self.idle_w, 0.0) for layer, one in found.items()}
        meter = next((one.meter for one in found.values()), "")
        error = statistics.median(one.error for one in found.values()) if found else 0.0
        return LayerPower(watts, meter, error, reasons)

    def _measure(self, layer: int) -> Energy:
        span = layer, layer
        model = self.profiled.slice_model(span)
        names = self.profiled.inputs(span)
        self.profiled.hold({*names, *self.profiled.outputs(span)})
        return self.meter.energy(model, {name: self.profiled.held[name] for name in names}, self.least_s)
