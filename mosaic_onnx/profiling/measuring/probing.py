"""Check a device's claims by compiling, without running, as ``inspect`` does; much faster than a profile."""

from __future__ import annotations

from collections.abc import Mapping

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.profiling.device_profiler import consecutive_layers
from mosaic_onnx.profiling.measurement_store import MeasurementStore
from mosaic_onnx.profiling.measuring.meter import Meter
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement
from mosaic_onnx.profiling.profiled_model import ProfiledModel, Span
from mosaic_onnx.profiling.progress import Ticker

_PROBE = "probe"


def compile_refusals(
    profiled: ProfiledModel, claims: Mapping[int, str], meter: Meter, store: MeasurementStore, ticker: Ticker
) -> dict[int, str]:
    """Return {layer: why a device cannot run it}, as its backend claims or compiling shows.

    Consecutive layers that compile as one slice are proved at once; otherwise they are compiled one by one, equal
    layers once. Stored measurements of earlier profiles are used.

    Args:
        profiled: the model.
        claims: layers that the backend refuses without compiling.
        meter: the device.
        store: earlier measurements.
        ticker: counts the measurements.
    """
    refused = dict(claims)
    spans = consecutive_layers(layer for layer in range(len(profiled.graph.layers)) if layer not in refused)
    ticker.expect(len(spans))
    for span in spans:
        measurement = _compiled(profiled, span, meter, store, ticker)
        if not measurement.reason:
            continue
        layers = range(span[0], span[1] + 1)
        if len(layers) == 1:
            refused[span[0]] = measurement.reason
            continue
        firsts = {profiled.digest((layer, layer)): layer for layer in reversed(layers)}
        ticker.expect(len(firsts))
        reasons = {
            digest: _compiled(profiled, (layer, layer), meter, store, ticker).reason for digest, layer in firsts.items()
        }
        found = {layer: reasons[profiled.digest((layer, layer))] for layer in layers}
        refused.update((layer, reason) for layer, reason in found.items() if reason)
    return refused


def _compiled(
    profiled: ProfiledModel, span: Span, meter: Meter, store: MeasurementStore, ticker: Ticker
) -> SliceMeasurement:
    """Return whether a slice compiles, from the store or by compiling."""
    digest = profiled.digest(span)
    known = store.measurement(digest) or store.measurement(digest, _PROBE)
    measurement = known or _tried(profiled, span, meter)
    if known is None:
        store.keep_measurement(digest, measurement, _PROBE)
    ticker.end()
    return measurement


def _tried(profiled: ProfiledModel, span: Span, meter: Meter) -> SliceMeasurement:
    try:
        return meter.probe(profiled.slice_model(span))
    except ModelError as error:
        return SliceMeasurement(f"cannot be cut out: {error.message}")
