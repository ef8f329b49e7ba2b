"""Measure chosen slices whole, so that a plan can be made again with what its own slices really take."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mosaic_onnx.backends.base import Backend, CostSource
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.profiles import MeasuredSlice
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.annotation import backend_of
from mosaic_onnx.profiling.device_profiler import measure_span
from mosaic_onnx.profiling.levels import held_at
from mosaic_onnx.profiling.measurement_store import MeasurementStore
from mosaic_onnx.profiling.measuring.meter import Meter, open_meter
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.profiled_model import ProfiledModel, Span
from mosaic_onnx.profiling.progress import Progress, Ticker
from mosaic_onnx.profiling.setup import ProfileOptions, open_profiled_model, open_store

Choice = tuple[int, int, str]
"""First layer, last layer, state."""


@dataclass(frozen=True)
class SegmentsMeasured:
    """The measurements of slices.

    Attributes:
        segments: those that ran and gave the reference's result, in the order asked for.
        reasons: why the others did not; such a slice must not be delivered.
    """

    segments: tuple[MeasuredSlice, ...] = ()
    reasons: Mapping[Choice, str] = field(default_factory=dict)


def measure_segments(
    normalised: Normalised,
    graph: LayerGraph,
    choices: Sequence[Choice],
    devices: Sequence[Device],
    backends: Mapping[str, Backend],
    options: ProfileOptions | None = None,
    progress: Progress | None = None,
) -> SegmentsMeasured:
    """Measure slices, each once, with the cache of ``profile_model``.

    Slices of simulated devices have no time of their own and are left out.

    Args:
        normalised: the model.
        graph: its layers.
        choices: slices as first layer, last layer (both inside) and state.
        devices: those that the states belong to.
        backends: by name.
        options: as for ``profile_model``.
        progress: called with the progress.

    Raises:
        UsageError: a state belongs to no device, or a slice lies outside the model.
    """
    options, ticker = options or ProfileOptions(), Ticker(progress, "measure_slices")
    profiled = open_profiled_model(normalised.model, normalised.folder, graph, options)
    by_state = _by_state(choices, graph)
    ticker.expect(sum(map(len, by_state.values())))
    measurements: dict[Choice, SliceMeasurement] = {}
    for state, spans in by_state.items():
        device, level = _device_of(state, devices)
        backend = backend_of(device, backends)
        if isinstance(backend, CostSource):
            continue
        with contextlib.closing(open_meter(backend, device, options.limit_s)) as meter, held_at(backend, device, level):
            store = open_store(profiled, device, level, options, meter.machine())
            for span in spans:
                measurements[(*span, state)] = _measured(profiled, span, meter, store, options.effort.slice, ticker)
    ran = {choice: one.seconds for choice, one in measurements.items() if one.seconds is not None and not one.wrong}
    return SegmentsMeasured(
        segments=tuple(MeasuredSlice(*choice, ran[choice]) for choice in dict.fromkeys(choices) if choice in ran),
        reasons={choice: _why_not(one) for choice, one in measurements.items() if choice not in ran},
    )


def _why_not(measurement: SliceMeasurement) -> str:
    return measurement.reason or f"its result is wrong: {measurement.wrong}"


def _measured(
    profiled: ProfiledModel, span: Span, meter: Meter, store: MeasurementStore, budget: TimeBudget, ticker: Ticker
) -> SliceMeasurement:
    """Return the measurement of a slice, from the store or by measuring."""
    digest = profiled.digest(span)
    measurement = store.measurement(digest)
    if measurement is None:
        measured = measure_span(profiled, span, meter, store.device.precision, budget)
        measurement = store.with_earlier(digest, measured)
        store.keep_measurement(digest, measurement)
    ticker.end()
    return measurement


def _by_state(choices: Sequence[Choice], graph: LayerGraph) -> dict[str, list[Span]]:
    """Return the slices of each state, each once."""
    found: dict[str, dict[Span, None]] = {}
    for first, last, state in choices:
        if not 0 <= first <= last < len(graph.layers):
            raise UsageError(f"slice {first}…{last} lies outside the model's {len(graph.layers)} layers")
        found.setdefault(state, {})[first, last] = None
    return {state: list(spans) for state, spans in found.items()}


def _device_of(state: str, devices: Sequence[Device]) -> tuple[Device, Level | None]:
    for device in devices:
        for name, level in zip(device.states, device.levels or (None,), strict=True):
            if name == state:
                return device, level
    raise UsageError(f"state {state!r} belongs to none of the devices", ", ".join(d.name for d in devices))
