"""Measure what running each layer in lower precision adds to the error of the model's outputs.

The ``error`` of a cost in the profile then is this contribution, no longer the error of the layer's own outputs. A
device of full precision counts as exact (0): this is assumed, and the plan's measured error shows whether it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mosaic_onnx.backends.base import Array, Backend
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.cache import Cache, digest
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.annotation import backend_of
from mosaic_onnx.profiling.machine import fingerprint
from mosaic_onnx.profiling.progress import Progress, Ticker
from mosaic_onnx.verification.precision.contributions import OUT_OF_TIME, ContributionMeter, ErrorContributions
from mosaic_onnx.verification.precision.samples import Samples

PROTOCOL = 1
"""Version of the method; raise it with every change that changes figures."""
UNKNOWN = 1.0
"""The contribution assumed for a layer whose error cannot be measured: as much as the output itself."""
FULL = frozenset({"f32", "f64"})
ASSUMED = (
    "devices of full precision add no error",
    "a plan's error is a share of the sum of its layers' errors; the share is learned from plans that were run",
)
"""The assumptions, as text; the delivered plan's own error is measured."""


def is_lower(device: Device) -> bool:
    """Return whether a device computes in less than full precision."""
    return device.precision not in FULL


@dataclass(frozen=True)
class ErrorProfiler:
    """Give a profile its errors.

    Attributes:
        devices: those of the profile.
        backends: by name.
        samples: what errors are measured on.
        cache: stores contributions; None measures everything anew.
        versions: of backends, providers and drivers.
        model_sha256: of the model's file.
        time_limit_s: for all devices together; layers that are not reached count as the
            worst of those measured.
    """

    devices: Sequence[Device]
    backends: Mapping[str, Backend]
    samples: Samples
    cache: Cache | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    model_sha256: str | None = None
    time_limit_s: float = 24.0

    def __call__(
        self, normalised: Normalised, graph: LayerGraph, profile: Profile, progress: Progress | None = None
    ) -> Profile:
        """Return the profile with the errors of every layer in every state."""
        lower = [device for device in self.devices if is_lower(device)]
        ticker = Ticker(progress, "measure_errors")
        found: dict[str, ErrorContributions] = {}
        opened: ContributionMeter | None = None
        try:
            for device in lower:
                layers = _by_gain(profile, device.name)
                known = self._recall(graph, device)
                rest = [layer for layer in layers if layer not in known.error and layer not in known.reasons]
                if rest:
                    opened = opened or ContributionMeter(normalised, graph, self.samples)
                    new = self._measure(opened, device, rest, self.time_limit_s / len(lower), ticker)
                    known = _joined(known, new)
                    self._keep(graph, device, known)
                found[device.name] = known
        except MosaicError as error:
            reason = f"its error was not measured: {error.message}"
            every = dict.fromkeys(range(len(graph.layers)), reason)
            found = {device.name: found.get(device.name, ErrorContributions({}, every)) for device in lower}
        finally:
            if opened is not None:
                opened.close()
        return _with_errors(profile, found)

    def _measure(
        self, opened: ContributionMeter, device: Device, layers: Sequence[int], limit_s: float, ticker: Ticker
    ) -> ErrorContributions:
        ticker.expect(len(layers))

        def tick() -> None:
            ticker.end()

        return opened.measure(device, backend_of(device, self.backends), layers, limit_s, tick)

    def _recall(self, graph: LayerGraph, device: Device) -> ErrorContributions:
        value = None if self.cache is None else self.cache.lookup(self._key(graph, device))
        if value is None:
            return ErrorContributions()
        return ErrorContributions(
            {int(layer): float(error) for layer, error in value["error"]},
            {int(layer): str(reason) for layer, reason in value["reasons"]},
            int(value["sample_count"]),
        )

    def _keep(self, graph: LayerGraph, device: Device, found: ErrorContributions) -> None:
        """Store the contributions that a new measurement would repeat."""
        if self.cache is not None:
            lasting = [[layer, reason] for layer, reason in found.reasons.items() if reason != OUT_OF_TIME]
            errors = [[layer, error] for layer, error in found.error.items()]
            value = {"error": errors, "reasons": lasting, "sample_count": found.sample_count}
            self.cache.store(self._key(graph, device), value)

    def _key(self, graph: LayerGraph, device: Device) -> dict[str, object]:
        """Return the cache key of contributions; weights enter by the model's outputs for the samples."""
        return {
            "protocol": PROTOCOL,
            "what": "errors",
            "model": self.model_sha256,
            "layers": digest([list(layer.nodes) for layer in graph.layers]),
            "samples": digest([[_bits(one.inputs), _bits(one.outputs)] for one in self.samples.runs]),
            "backend": device.backend,
            "precision": device.precision,
            "options": dict(device.options),
            "versions": dict(self.versions),
            "machine": dict(fingerprint()),
        }


def _bits(arrays: Mapping[str, Array]) -> list[list[object]]:
    return [[name, str(array.dtype), list(array.shape), _hash(array)] for name, array in sorted(arrays.items())]


def _hash(array: Array) -> str:
    content = repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
    return hashlib.sha256(content).hexdigest()


def _joined(known: ErrorContributions, new: ErrorContributions) -> ErrorContributions:
    count = min(known.sample_count or new.sample_count, new.sample_count)
    return ErrorContributions({**known.error, **new.error}, {**known.reasons, **new.reasons}, count)


def _by_gain(profile: Profile, device: str) -> list[int]:
    """Return the layers that a device can run, by the seconds that it saves against the best other one."""
    gains: dict[int, float] = {}
    for index, layer in enumerate(profile.layers):
        own = [cost.seconds for state, cost in layer.cost.items() if cost is not None and device_of(state) == device]
        other = [cost.seconds for state, cost in layer.cost.items() if cost is not None and device_of(state) != device]
        if own:
            gains[index] = min(other, default=float("inf")) - min(own)
    return sorted(gains, key=lambda index: -gains[index])


def _with_errors(profile: Profile, found: Mapping[str, ErrorContributions]) -> Profile:
    """Return the profile with these errors; 0 for devices that are not in ``found``."""
    most = {name: max(one.error.values(), default=UNKNOWN) for name, one in found.items()}
    layers = tuple(_layer(index, layer, found, most) for index, layer in enumerate(profile.layers))
    counts = {name: one.sample_count for name, one in found.items() if one.error}
    note = {"of": "the model's outputs, one layer at a time", "samples": counts, "assumed": list(ASSUMED)}
    return replace(profile, layers=layers, meta={**profile.meta, "errors": note})


def _layer(
    index: int, layer: ProfileLayer, found: Mapping[str, ErrorContributions], most: Mapping[str, float]
) -> ProfileLayer:
    cost: dict[str, Cost | None] = {}
    for state, one in layer.cost.items():
        device = device_of(state)
        known = found.get(device)
        if one is None or known is None:
            cost[state] = None if one is None else replace(one, error=0.0)
        elif index in known.error:
            cost[state] = replace(one, error=known.error[index])
        else:
            reason = known.reasons.get(index, OUT_OF_TIME)
            error = most[device] if reason == OUT_OF_TIME else UNKNOWN
            cost[state] = replace(one, error=error, meta={**one.meta, "error": f"assumed: {reason}"})
    return replace(layer, cost=cost)
