"""Survey one state of one device: what each layer costs there, alone and in the midst of others, or why it cannot run.

Order of work, so that little time tells much:

1. The backend's claims exclude layers for nothing.
2. The stretches between them (the whole model, where all is claimed) run as one slice each. Where the runtime can time
   kernels, that gives every layer's time in place: fused, with its neighbours' layouts, caches as they are in a run.
   A stretch that compiles, runs and agrees with the reference proves the claim of all its layers at once.
3. Layers that are not proved so are compiled, run, compared and timed alone; equal ones once.
4. Time permitting, the costliest of the others too: how much dearer a layer is alone tells what cutting costs.
5. Stretches that could not run whole are tried again without the layers that were found out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.profiling.attribution import Share, layer_shares, sharing_layers, tag_nodes, value_layers
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.measurement_store import Ledger
from mosaic_onnx.profiling.measuring.meter import Meter
from mosaic_onnx.profiling.measuring.slices import Outcome, Trial
from mosaic_onnx.profiling.measuring.timing import Budget
from mosaic_onnx.profiling.measuring.tolerance import judged
from mosaic_onnx.profiling.profiled_model import Span, Subject
from mosaic_onnx.profiling.progress import Ticker

_MOST_STRETCHES = 16
_MOST_AGAIN_S = 3.0
"""A stretch that takes longer than this to compile and run is measured only once."""


@dataclass(frozen=True)
class Effort:
    """How much time measuring may take.

    Attributes:
        layer: for one layer alone.
        stretch: for a stretch, and as much again for its kernels.
        alone_s: in all, for layers alone whose cost in place is known already; the costliest come first.
    """

    layer: Budget = field(default_factory=lambda: Budget(0.03))
    stretch: Budget = field(default_factory=lambda: Budget(1.0))
    alone_s: float = 6.0


@dataclass
class Findings:
    """What is known of one state so far: filled while measuring goes on, so that an interruption loses nothing.

    Attributes:
        device: the device.
        refused: by layer, why it cannot run there.
        in_place: by layer, what its kernels take while a stretch runs.
        alone: by layer, what measuring it alone gave.
        stretches: slices measured whole.
        unsettled: those that ran, but not with the reference's result.
        slice_s: what running any slice costs besides its work.
    """

    device: Device
    refused: dict[int, str] = field(default_factory=dict)
    in_place: dict[int, Share] = field(default_factory=dict)
    alone: dict[int, Outcome] = field(default_factory=dict)
    stretches: dict[Span, Outcome] = field(default_factory=dict)
    unsettled: dict[Span, Outcome] = field(default_factory=dict)
    slice_s: float = 0.0


@dataclass
class Survey:
    """The survey of one state of one device; ``run`` fills ``findings``."""

    subject: Subject
    findings: Findings
    meter: Meter
    ledger: Ledger
    effort: Effort
    ticker: Ticker
    times_kernels: bool

    def run(self) -> None:
        """Measure whatever is not known yet."""
        self.findings.slice_s = self._overhead()
        proved: set[int] = set()
        tried: set[Span] = set()
        if self.times_kernels:
            proved = self._stretches(tried)
        self._alone([layer for layer in self._candidates() if layer not in proved])
        self._settle()
        if proved:
            self._costliest(proved)
        self._stretches(tried)
        self._settle()
        self._look_again()

    def _candidates(self) -> list[int]:
        return [layer for layer in range(len(self.subject.graph.layers)) if layer not in self.findings.refused]

    def _stretches(self, tried: set[Span]) -> set[int]:
        """Measure the longest stretches not tried before; the layers that this proves."""
        proved: set[int] = set()
        spans = [span for span in stretches(self._candidates()) if span not in tried]
        longest = sorted(spans, key=lambda span: span[0] - span[1])[:_MOST_STRETCHES]
        worth = [span for span in longest if span[1] > span[0] or len(self.subject.graph.layers) == 1]
        self.ticker.expect(len(worth))
        for span in sorted(worth):
            tried.add(span)
            outcome = self._measure(span, self.effort.stretch)
            if outcome.reason or outcome.seconds is None:
                continue
            if self.times_kernels:
                self._kernels(span)
            if outcome.wrong:
                self.findings.unsettled[span] = outcome
                continue
            self.findings.stretches[span] = outcome
            proved.update(layer for layer in range(span[0], span[1] + 1) if layer in self.findings.in_place)
        return proved

    def _settle(self) -> None:
        """A stretch whose result was off counts if each of its layers was found sound alone: then rounding added up."""
        for span, outcome in self.findings.unsettled.items():
            layers = range(span[0], span[1] + 1)
            if not any(layer in self.findings.refused for layer in layers):
                self.findings.stretches[span] = outcome
                continue
            for layer in layers:
                self.findings.in_place.pop(layer, None)
        self.findings.unsettled.clear()

    def _look_again(self) -> None:
        """Measure stretches a second time, some while after the first: a busy second may have spoilt that."""
        once = [(span, one) for span, one in self.findings.stretches.items() if one.spell_count == 1]
        worth = [(span, one) for span, one in once if one.load_s + (one.seconds or 0.0) <= _MOST_AGAIN_S]
        self.ticker.expect(len(worth))
        for span, outcome in worth:
            self.ticker.begin()
            again = outcome.least(measure_span(self.subject, span, self.meter, self._precision, self.effort.stretch))
            self.findings.stretches[span] = again
            self.ledger.keep_outcome(self._digest(span), again)
            self.ticker.end(True)

    def _alone(self, layers: Sequence[int], until: float | None = None) -> list[str]:
        """Measure layers alone, equal ones once, while there is time; the digests that were measured."""
        firsts: dict[Digest, int] = {}
        equals: dict[int, list[int]] = {}
        for layer in layers:
            first = firsts.setdefault(self._digest((layer, layer)), layer)
            equals.setdefault(first, []).append(layer)
        self.ticker.expect(len(equals))
        measured = []
        for batch in self.subject.batches([(first, first) for first in sorted(equals)]):
            unknown = [span for span in batch if self.ledger.outcome(self._digest(span)) is None]
            if unknown:
                with suppress(ModelError):  # whose tensors nobody knows is found out one by one
                    self.subject.hold_all(unknown)
            for span in batch:
                if until is not None and time.perf_counter() > until:
                    self.ticker.end(False)
                    continue
                outcome = self._measure(span, self.effort.layer)
                measured.append(self._digest(span).text)
                for layer in equals[span[0]]:
                    self._note_alone(layer, outcome)
        return measured

    def _note_alone(self, layer: int, outcome: Outcome) -> None:
        """What a layer alone tells; one that a sound stretch holds is not refused for what only the cut brings out."""
        is_in_stretch = any(first <= layer <= last for first, last in self.findings.stretches)
        if outcome.reason and not (is_in_stretch and layer in self.findings.in_place):
            self.findings.refused[layer] = outcome.reason
        elif outcome.wrong and not is_in_stretch:
            self.findings.refused[layer] = f"its result is wrong: {outcome.wrong}"
        elif not outcome.reason:
            self.findings.alone[layer] = outcome

    def _costliest(self, proved: Collection[int]) -> None:
        """Measure proved layers alone too, those that cost most first; next time exactly those that were now."""
        whole = self._digest((0, len(self.subject.graph.layers) - 1))
        known = self.ledger.names("alone", whole)
        layers = self._by_cost(proved)
        if known is not None:
            self._alone([layer for layer in layers if self._digest((layer, layer)).text in known])
            return
        most = max(1, int(self.effort.alone_s / (2 * self.effort.layer.seconds)))
        costliest = set(list(dict.fromkeys(self._digest((layer, layer)).text for layer in layers))[:most])
        worth = [layer for layer in layers if self._digest((layer, layer)).text in costliest]
        measured = self._alone(worth, time.perf_counter() + self.effort.alone_s)
        self.ledger.keep_names("alone", whole, tuple(measured))

    def _by_cost(self, layers: Collection[int]) -> list[int]:
        """Layers that cost most first; those that share a kernel together, since its time is split by theirs alone."""
        in_place = {layer: self.findings.in_place[layer] for layer in sorted(layers)}
        groups = sharing_layers(in_place, self.subject.graph)
        groups.sort(key=lambda group: -sum(in_place[layer].seconds for layer in group))
        return [layer for group in groups for layer in group]

    def _measure(self, span: Span, budget: Budget) -> Outcome:
        """What a slice costs, from the cache or by measuring."""
        digest = self._digest(span)
        self.ticker.begin()
        outcome = self.ledger.outcome(digest)
        was_measured = outcome is None
        if outcome is None:
            outcome = measure_span(self.subject, span, self.meter, self._precision, budget)
            # A stretch that takes for ever is no layer's fault, and worth no second hour: that is kept.
            self.ledger.keep_outcome(digest, outcome if span[0] == span[1] else replace(outcome, is_lasting=True))
        self.ticker.end(was_measured)
        return outcome

    @property
    def _precision(self) -> str:
        return self.findings.device.precision

    def _kernels(self, span: Span) -> None:
        """Seconds of each layer of a stretch while it runs; layers without a kernel were optimised away."""
        digest = self._digest(span)
        shares = self.ledger.shares(digest)
        if shares is None:
            model = self.subject.slice_model(span)
            layers = self.subject.layers_of(model.model, span[0])
            made_by = value_layers(model.model, layers)
            tag_nodes(model.model, layers)
            trial = self.subject.trial(span, self.effort.stretch)
            shares = layer_shares(self.meter.kernels(model, trial.inputs, self.effort.stretch), made_by)
            self.ledger.keep_shares(digest, shares)
        for layer in range(span[0], span[1] + 1) if shares else ():
            share = shares.get(layer - span[0], Share())
            rides_with = None if share.rides_with is None else share.rides_with + span[0]
            self.findings.in_place[layer] = replace(share, rides_with=rides_with)

    def _overhead(self) -> float:
        """Seconds that the least of all slices takes: one Relu of one element."""
        digest = Digest("one Relu")
        self.ticker.expect(1)
        self.ticker.begin()
        outcome = self.ledger.outcome(digest)
        was_measured = outcome is None
        if outcome is None:
            trial = Trial({"x": np.ones(1, np.float32)}, {}, self.effort.layer)
            outcome = self.meter.measure(_least_slice(), trial)
            self.ledger.keep_outcome(digest, outcome)
        self.ticker.end(was_measured)
        return outcome.seconds or 0.0

    def _digest(self, span: Span) -> Digest:
        return self.subject.digest(span)


def measure_span(subject: Subject, span: Span, meter: Meter, precision: str, budget: Budget) -> Outcome:
    """Measure a slice; where it cannot be cut out, or nobody knows its tensors, that is the reason."""
    try:
        model = subject.slice_model(span)
    except ModelError as error:
        return Outcome(f"cannot be cut out: {error.message}")
    try:
        trial = subject.trial(span, budget)
    except ModelError as error:
        probed = meter.probe(model)
        return probed if probed.reason else Outcome(f"not measured: {error.message}")
    return judged(meter.measure(model, trial), model, trial, precision)


def stretches(layers: Iterable[int]) -> list[Span]:
    """Runs of consecutive layers."""
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
