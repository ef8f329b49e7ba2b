"""Profile one state of one device: the cost of each layer, alone and inside larger slices, or why it cannot run.

The order of the work:

1. The backend's claims exclude layers at no cost.
2. The consecutive layers between them (the whole model, if all layers are claimed) run as one slice. If the runtime
   can time kernels, that gives every layer's time in place: fused, with its neighbours' layouts, with warm caches.
   A slice that compiles, runs and agrees with the reference proves the claims on all its layers at once.
3. The other layers are compiled, run, compared and timed alone; equal ones once.
4. If time allows, so are the most expensive of the proved layers: the difference to their time in place is what a cut
   costs.
5. Slices that could not run are tried again without the layers that failed alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.text.quantities import seconds_text
from mosaic_onnx.profiling.attribution import KernelShare, layer_shares, sharing_layers, tag_nodes, value_layers
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.measurement_store import MeasurementStore
from mosaic_onnx.profiling.measuring.meter import Meter
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement, SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.measuring.tolerance import with_verdict
from mosaic_onnx.profiling.profiled_model import ProfiledModel, Span
from mosaic_onnx.profiling.progress import Ticker

_log = logging.getLogger(__name__)
_MOST_STRETCHES = 16
SLICE_WEIGHT = 30.0
"""Compiling and measuring a slice of many layers takes about so many times as long as a layer (ResNet-50 on two
devices: 20 to 50)."""
_MOST_AGAIN_S = 3.0
"""A slice that takes longer than this to compile and run is measured only once."""


@dataclass(frozen=True)
class ProfilingEffort:
    """The time that profiling may take.

    Attributes:
        layer: for one layer alone.
        slice: for a slice of several layers, and as much again for its kernels.
        alone_s: in all, for measuring layers alone whose time in place is known; the most expensive come first.
        least_alone_count: so many of them are measured however long that takes.
        levels_s: for comparing a runtime's levels of optimisation on one slice; 0 takes the device's own.
        looks_again: measure slices a second time, later than the first: those that other load disturbed, always, or
            never.
        one_session: compile a slice once, for its kernels and for itself; not where scratch memory is recorded, say,
            which slows the runs that follow a little.
        name: what users call this effort.
        kept_as: names in the cache's keys, so that measurements of less effort are kept apart: the first is stored
            under, all are looked up in turn.
    """

    layer: TimeBudget = field(default_factory=lambda: TimeBudget(0.015))
    slice: TimeBudget = field(default_factory=lambda: TimeBudget(0.2))
    alone_s: float = 0.8
    least_alone_count: int = 1
    levels_s: float = 0.4
    looks_again: Literal["always", "disturbed", "never"] = "disturbed"
    one_session: bool = False
    name: str = "normal"
    kept_as: tuple[str, ...] = ("",)


@dataclass
class DeviceTimings:
    """The measurements of one state so far; filled while profiling goes on, so that an interruption loses nothing.

    Attributes:
        device: the device.
        refused: by layer, why it cannot run there.
        in_place: by layer, the time of its kernels while a larger slice runs.
        alone: by layer, its measurement as a slice of its own.
        slices: measured slices of several layers.
        unsettled: slices that ran, but whose results differ from the reference's.
        slice_s: overhead of running any slice.
    """

    device: Device
    refused: dict[int, str] = field(default_factory=dict)
    in_place: dict[int, KernelShare] = field(default_factory=dict)
    alone: dict[int, SliceMeasurement] = field(default_factory=dict)
    slices: dict[Span, SliceMeasurement] = field(default_factory=dict)
    unsettled: dict[Span, SliceMeasurement] = field(default_factory=dict)
    slice_s: float = 0.0


@dataclass
class DeviceProfiler:
    """Profiles one state of one device; ``run`` fills ``timings``."""

    profiled: ProfiledModel
    timings: DeviceTimings
    meter: Meter
    store: MeasurementStore
    effort: ProfilingEffort
    ticker: Ticker
    times_kernels: bool
    shares: dict[Span, Mapping[int, KernelShare]] = field(default_factory=dict)

    def run(self) -> None:
        """Measure all that is not known yet."""
        self.ticker.device = self.timings.device.name
        proved: set[int] = set()
        tried: set[Span] = set()
        if self.times_kernels:
            proved = self._measure_slices(tried)
        self.timings.slice_s = self._overhead()
        self._alone([layer for layer in self._candidates() if layer not in proved])
        self._settle()
        if proved:
            self._costliest(proved)
        self._measure_slices(tried)
        self._settle()
        if self.effort.looks_again != "never":
            self._look_again()

    def _candidates(self) -> list[int]:
        return [layer for layer in range(len(self.profiled.graph.layers)) if layer not in self.timings.refused]

    def _measure_slices(self, tried: set[Span]) -> set[int]:
        """Measure the longest slices not tried before; return the layers that this proves."""
        proved: set[int] = set()
        spans = [span for span in consecutive_layers(self._candidates()) if span not in tried]
        longest = sorted(spans, key=lambda span: span[0] - span[1])[:_MOST_STRETCHES]
        worth = [span for span in longest if span[1] > span[0] or len(self.profiled.graph.layers) == 1]
        self.ticker.expect(len(worth), SLICE_WEIGHT)
        for span in sorted(worth):
            tried.add(span)
            measurement = self._measure_in_one_session(span) if self._is_one_session else None
            measurement = measurement or self._measure(span, self.effort.slice)
            if measurement.reason or measurement.seconds is None:
                continue
            if self.times_kernels:
                self._kernels(span)
            if measurement.wrong:
                self.timings.unsettled[span] = measurement
                continue
            self.timings.slices[span] = measurement
            proved.update(layer for layer in range(span[0], span[1] + 1) if layer in self.timings.in_place)
        return proved

    def _settle(self) -> None:
        """Accept slices with a deviating result if each of their layers alone was right: then rounding added up."""
        for span, measurement in self.timings.unsettled.items():
            layers = range(span[0], span[1] + 1)
            if not any(layer in self.timings.refused for layer in layers):
                self.timings.slices[span] = measurement
                continue
            for layer in layers:
                self.timings.in_place.pop(layer, None)
        self.timings.unsettled.clear()

    def _look_again(self) -> None:
        """Measure slices a second time, later than the first: other load may have disturbed that."""
        every = self.effort.looks_again == "always"
        slices = self.timings.slices.items()
        once = [(span, one) for span, one in slices if one.spell_count == 1 and (every or one.is_disturbed)]
        worth = [(span, one) for span, one in once if one.load_s + (one.seconds or 0.0) <= _MOST_AGAIN_S]
        self.ticker.expect(len(worth), SLICE_WEIGHT)
        for span, measurement in worth:
            again = measurement.least(measure_span(self.profiled, span, self.meter, self._precision, self.effort.slice))
            self.timings.slices[span] = again
            self.store.keep_measurement(self._digest(span), again)
            self.ticker.end(SLICE_WEIGHT)

    def _alone(self, layers: Sequence[int], until: float | None = None) -> list[str]:
        """Measure layers alone, equal ones once, while there is time; return the digests that were measured."""
        firsts: dict[Digest, int] = {}
        equals: dict[int, list[int]] = {}
        for layer in layers:
            first = firsts.setdefault(self._digest((layer, layer)), layer)
            equals.setdefault(first, []).append(layer)
        self.ticker.expect(len(equals))
        measured = []
        for batch in self.profiled.batches([(first, first) for first in sorted(equals)]):
            unknown = [span for span in batch if self.store.measurement(self._digest(span)) is None]
            if unknown:
                with suppress(ModelError):  # layers with unknown tensors are found one by one
                    self.profiled.hold_all(unknown)
            for span in batch:
                if until is not None and time.perf_counter() > until:
                    self.ticker.end()
                    continue
                measurement = self._measure(span, self.effort.layer)
                measured.append(self._digest(span).text)
                for layer in equals[span[0]]:
                    self._note_alone(layer, measurement)
        return measured

    def _note_alone(self, layer: int, measurement: SliceMeasurement) -> None:
        """Record the measurement of a layer alone; inside a slice that is right, a layer is not refused for it."""
        is_in_slice = any(first <= layer <= last for first, last in self.timings.slices)
        if measurement.reason and not (is_in_slice and layer in self.timings.in_place):
            self.timings.refused[layer] = measurement.reason
        elif measurement.wrong and not is_in_slice:
            self.timings.refused[layer] = f"its result is wrong: {measurement.wrong}"
        elif not measurement.reason:
            self.timings.alone[layer] = measurement

    def _costliest(self, proved: Collection[int]) -> None:
        """Measure proved layers alone too, the most expensive first; a later profile measures the same ones."""
        whole = self._digest((0, len(self.profiled.graph.layers) - 1))
        known = self.store.names("alone", whole)
        layers = self._by_cost(proved)
        if known is not None:
            self._alone([layer for layer in layers if self._digest((layer, layer)).text in known])
            return
        whole_s = sum(self.timings.in_place[layer].seconds for layer in layers)
        if not self.effort.least_alone_count and 2 * whole_s > self.effort.alone_s:
            return  # the reference's run for their inputs alone takes about so long
        most = max(self.effort.least_alone_count, int(self.effort.alone_s / (2 * self.effort.layer.seconds)))
        costliest = set(list(dict.fromkeys(self._digest((layer, layer)).text for layer in layers))[:most])
        worth = [layer for layer in layers if self._digest((layer, layer)).text in costliest]
        measured = self._alone(worth, time.perf_counter() + self.effort.alone_s)
        self.store.keep_names("alone", whole, tuple(measured))

    def _by_cost(self, layers: Collection[int]) -> list[int]:
        """Return the layers, the most expensive first; layers that share kernels stay together."""
        in_place = {layer: self.timings.in_place[layer] for layer in sorted(layers)}
        groups = sharing_layers(in_place, self.profiled.graph)
        groups.sort(key=lambda group: -sum(in_place[layer].seconds for layer in group))
        return [layer for group in groups for layer in group]

    def _measure(self, span: Span, budget: TimeBudget) -> SliceMeasurement:
        """Return the measurement of a slice, from the store or by measuring."""
        digest = self._digest(span)
        measurement = self.store.measurement(digest)
        if measurement is None:
            measurement = measure_span(self.profiled, span, self.meter, self._precision, budget)
            measurement = self.store.with_earlier(digest, measurement)
            # A slice of several layers that runs into the limit is stored, so that it is not tried again.
            self.store.keep_measurement(
                digest, measurement if span[0] == span[1] else replace(measurement, is_lasting=True)
            )
        self.ticker.end(1.0 if span[0] == span[1] else SLICE_WEIGHT)
        _log.debug("%s: layers %d…%d: %s", self.timings.device.name, *span, _said(measurement))
        return measurement

    @property
    def _precision(self) -> str:
        return self.timings.device.precision

    @property
    def _is_one_session(self) -> bool:
        return self.times_kernels and self.effort.one_session

    def _measure_in_one_session(self, span: Span) -> SliceMeasurement | None:
        """Measure a slice and its kernels in one session; None where it is known already, or cannot be tried so."""
        digest = self._digest(span)
        if self.store.measurement(digest) is not None:
            return None
        try:
            model, made_by = self._tagged(span)
            trial = self.profiled.trial(span, self.effort.slice)
        except ModelError:
            return None
        measurement, kernels = self.meter.measure_with_kernels(model, trial)
        measurement = with_verdict(measurement, model, trial, self._precision)
        measurement = self.store.with_earlier(digest, measurement)
        self.store.keep_measurement(digest, replace(measurement, is_lasting=True))
        if measurement.seconds is not None:
            self.shares[span] = layer_shares(kernels, made_by)
            self.store.keep_shares(digest, self.shares[span])
        self.ticker.end(SLICE_WEIGHT)
        _log.debug("%s: layers %d…%d: %s", self.timings.device.name, *span, _said(measurement))
        return measurement

    def _tagged(self, span: Span) -> tuple[SliceModel, Mapping[str, int]]:
        """Return a slice whose nodes are named by their layers, and the layer that makes each of its values."""
        model = self.profiled.slice_model(span)
        layers = self.profiled.layers_of(model.model, span[0])
        made_by = value_layers(model.model, layers)
        tag_nodes(model.model, layers)
        return model, made_by

    def _kernels(self, span: Span) -> None:
        """Record the time of each layer while a slice runs; layers without a kernel were optimised away."""
        digest = self._digest(span)
        shares = self.shares[span] if span in self.shares else self.store.shares(digest)
        if shares is None:
            model, made_by = self._tagged(span)
            trial = self.profiled.trial(span, self.effort.slice)
            shares = layer_shares(self.meter.kernels(model, trial.inputs, self.effort.slice), made_by)
            self.store.keep_shares(digest, shares)
        for layer in range(span[0], span[1] + 1) if shares else ():
            share = shares.get(layer - span[0], KernelShare())
            rides_with = None if share.rides_with is None else share.rides_with + span[0]
            self.timings.in_place[layer] = replace(share, rides_with=rides_with)

    def _overhead(self) -> float:
        """Return the seconds that the smallest slice takes: one Relu of one element."""
        digest = Digest("one Relu")
        self.ticker.expect(1)
        measurement = self.store.measurement(digest)
        if measurement is None:
            trial = SliceTrial({"x": np.ones(1, np.float32)}, {}, self.effort.layer)
            measurement = self.meter.measure(_least_slice(), trial)
            self.store.keep_measurement(digest, measurement)
        self.ticker.end()
        return measurement.seconds or 0.0

    def _digest(self, span: Span) -> Digest:
        return self.profiled.digest(span)


def _said(measurement: SliceMeasurement) -> str:
    """Return a measurement as text for the log."""
    if measurement.seconds is None:
        return measurement.reason or "compiles"
    words = f"{seconds_text(measurement.seconds)}, {measurement.run_count} runs"
    return f"{words}, disturbed" if measurement.is_disturbed else words


def measure_span(
    profiled: ProfiledModel, span: Span, meter: Meter, precision: str, budget: TimeBudget
) -> SliceMeasurement:
    """Measure a slice; if it cannot be extracted, or its tensors are unknown, the result says so."""
    try:
        model = profiled.slice_model(span)
    except ModelError as error:
        return SliceMeasurement(f"cannot be cut out: {error.message}")
    try:
        trial = profiled.trial(span, budget)
    except ModelError as error:
        probed = meter.probe(model)
        return probed if probed.reason else SliceMeasurement(f"not measured: {error.message}")
    return with_verdict(meter.measure(model, trial), model, trial, precision)


def consecutive_layers(layers: Iterable[int]) -> list[Span]:
    """Return the maximal runs of consecutive layers."""
    found: list[Span] = []
    for layer in sorted(layers):
        if found and found[-1][1] == layer - 1:
            found[-1] = (found[-1][0], layer)
        else:
            found.append((layer, layer))
    return found


def _least_slice() -> SliceModel:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"], "relu")],
        "least",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    return SliceModel(model, None, ("x",), ("y",))
