"""Check a device's claims by compiling, without running: what ``inspect`` shows, at a fraction of a profile's time."""

from __future__ import annotations

from collections.abc import Mapping

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.profiling.device_profiler import stretches
from mosaic_onnx.profiling.measurement_store import Ledger
from mosaic_onnx.profiling.measuring.meter import Meter
from mosaic_onnx.profiling.measuring.slices import Outcome
from mosaic_onnx.profiling.profiled_model import Span, Subject
from mosaic_onnx.profiling.progress import Ticker

_PROBE = "probe"


def compile_refusals(
    subject: Subject, claims: Mapping[int, str], meter: Meter, ledger: Ledger, ticker: Ticker
) -> dict[int, str]:
    """By layer, why a device cannot run it: claimed, or found by compiling.

    A stretch that compiles whole settles all its layers at once; one that does not is compiled layer by layer, equal
    layers once. What a profile found out before is used.

    Args:
        subject: the model.
        claims: layers that the backend refuses without compiling.
        meter: the device.
        ledger: what was found before.
        ticker: counts.
    """
    refused = dict(claims)
    spans = stretches(layer for layer in range(len(subject.graph.layers)) if layer not in refused)
    ticker.expect(len(spans))
    for span in spans:
        outcome = _compiled(subject, span, meter, ledger, ticker)
        if not outcome.reason:
            continue
        layers = range(span[0], span[1] + 1)
        if len(layers) == 1:
            refused[span[0]] = outcome.reason
            continue
        firsts = {subject.digest((layer, layer)): layer for layer in reversed(layers)}
        ticker.expect(len(firsts))
        reasons = {
            digest: _compiled(subject, (layer, layer), meter, ledger, ticker).reason for digest, layer in firsts.items()
        }
        found = {layer: reasons[subject.digest((layer, layer))] for layer in layers}
        refused.update((layer, reason) for layer, reason in found.items() if reason)
    return refused


def _compiled(subject: Subject, span: Span, meter: Meter, ledger: Ledger, ticker: Ticker) -> Outcome:
    """Whether a slice compiles, from the cache or by trying."""
    ticker.begin()
    digest = subject.digest(span)
    known = ledger.outcome(digest) or ledger.outcome(digest, _PROBE)
    outcome = known or _tried(subject, span, meter)
    if known is None:
        ledger.keep_outcome(digest, outcome, _PROBE)
    ticker.end(known is None)
    return outcome


def _tried(subject: Subject, span: Span, meter: Meter) -> Outcome:
    try:
        return meter.probe(subject.slice_model(span))
    except ModelError as error:
        return Outcome(f"cannot be cut out: {error.message}")
