"""The contribution of one layer on a device to the error of the model's outputs, all else being exact.

It is measured: the layer runs alone on the device on the reference's tensors, its differences from the reference are
added inside the whole model (``disturbed``), and the outputs are compared with an undisturbed run's.

Two things are assumed. Errors of several layers are at most the sum of their contributions (true to first order; the
plan's own error is measured: ``end_to_end_error``). A layer inside a slice has the error that it has alone, where its
inputs are rounded as a neighbour's output would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array, Backend, Runner
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import failure_line
from mosaic_onnx.core.graph.graphs import writes
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.rewriting.extracting import Extractor
from mosaic_onnx.verification.marks import find_marks
from mosaic_onnx.verification.precision.disturbed import FLOATS, DisturbedModel
from mosaic_onnx.verification.precision.end_to_end_error import relative_error
from mosaic_onnx.verification.precision.samples import Sample, Samples
from mosaic_onnx.verification.reference import Reference, batches

MOST_SAMPLES = 2
"""Contributions are measured on the first so many samples, where time allows; the plan's own error on all of them."""
OUT_OF_TIME = "its error was not measured: out of time"
RUNS_SHARE = 0.4
"""The share of the time that runs of the whole model on more than one sample may take."""

Progress = Callable[[], None]


@dataclass(frozen=True)
class ErrorContributions:
    """The contributions of layers on one device.

    Attributes:
        error: by layer, its contribution: the largest over samples and outputs.
        reasons: by layer, why it is unknown; such a layer must not run there.
        sample_count: number of samples measured.
    """

    error: Mapping[int, float] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    sample_count: int = 0


class ContributionMeter:
    """Measures contributions of one model on one set of samples."""

    def __init__(self, normalised: Normalised, graph: LayerGraph, samples: Samples) -> None:
        """Load the model so that any layer's outputs can be disturbed.

        Raises:
            BackendError: ONNX Runtime cannot run the model.
        """
        self._normalised, self._graph = normalised, graph
        self._samples = samples.runs[:MOST_SAMPLES]
        self._extractor = Extractor(normalised.model, normalised.folder)
        self._random = frozenset(find_marks(normalised.model).random)
        made = {name for node in normalised.model.graph.node for name in writes(node)}
        movable = {
            name: info
            for layer in graph.layers
            for name in layer.outputs
            if (info := graph.tensors.get(name)) and info.element_type in FLOATS and info.shape is not None
            if name in made
        }
        self._movable = movable
        self._model = DisturbedModel(normalised.model, normalised.folder, movable)
        self._still: list[Mapping[str, Array]] = []
        self._run_s = 0.0
        for sample in self._samples:
            began = time.monotonic()
            self._still.append(self._model.run(sample.inputs))
            self._run_s = time.monotonic() - began

    def close(self) -> None:
        """Close the session."""
        self._model.close()

    def measure(
        self,
        device: Device,
        backend: Backend,
        layers: Sequence[int],
        time_limit_s: float,
        tick: Progress | None = None,
    ) -> ErrorContributions:
        """Return the contributions of layers on a device.

        Args:
            device: where they run.
            backend: its backend.
            layers: those that it can run, the most valuable first.
            time_limit_s: when to stop.
            tick: called after every layer.
        """
        until = time.monotonic() + time_limit_s
        count = int(RUNS_SHARE * time_limit_s / max(self._run_s * len(layers), 1e-9))
        samples = self._samples[: max(1, count)]
        error: dict[int, float] = {}
        reasons: dict[int, str] = {}
        names = [[*self._graph.layers[layer].inputs, *self._graph.layers[layer].outputs] for layer in layers]
        sizes = {name: info.bytes * len(samples) for name, info in self._graph.tensors.items()}
        reference = Reference(self._normalised.model, self._normalised.folder)
        try:
            for batch in batches(names, sizes):
                wanted = list(dict.fromkeys(name for index in batch for name in names[index]))
                late = time.monotonic() > until
                tensors = [] if late else [reference.run(one.inputs, wanted) for one in samples]
                for index in batch:
                    found: float | str = OUT_OF_TIME
                    if time.monotonic() <= until:
                        found = self._contribution(layers[index], device, backend, tensors)
                    if isinstance(found, str):
                        reasons[layers[index]] = found
                    else:
                        error[layers[index]] = found
                    if tick is not None:
                        tick()
        finally:
            reference.close()
        return ErrorContributions(error, reasons, len(samples))

    def _contribution(
        self, layer: int, device: Device, backend: Backend, tensors: Sequence[Mapping[str, Array]]
    ) -> float | str:
        """Return one layer's contribution, or why it is unknown."""
        one = self._graph.layers[layer]
        if device.host:
            return "its error was not measured: errors are not measured on another machine"
        try:
            runner = backend.load(self._extractor.extract(one.nodes, one.outputs), device)
        except Exception as error:  # a provider may raise anything
            return f"its error was not measured: {failure_line(error)}"
        try:
            worst = 0.0
            for sample, still, exact in zip(self._samples, self._still, tensors, strict=False):
                added = self._added(runner, one.inputs, one.outputs, sample, still, exact)
                if isinstance(added, str):
                    return added
                worst = max(worst, added)
            return worst
        except Exception as error:  # a provider may raise anything
            return f"its error was not measured: {failure_line(error)}"
        finally:
            runner.close()

    def _added(
        self,
        runner: Runner,
        inputs: Sequence[str],
        outputs: Sequence[str],
        sample: Sample,
        still: Mapping[str, Array],
        exact: Mapping[str, Array],
    ) -> float | str:
        """Return a layer's contribution on one sample."""
        made = runner.run({name: exact[name] for name in inputs})
        moved: dict[str, Array] = {}
        for name in outputs:
            error = relative_error(made.get(name), exact[name])
            if error == 0.0:
                continue
            if name not in self._movable or name in self._random:
                return f"its error cannot be measured: {name} differs, and cannot be moved"
            if error == float("inf"):
                return f"breaks any error budget: {name} is of another shape, or not finite"
            moved[name] = np.subtract(made[name], exact[name])
        if not moved:
            return 0.0
        outcome = self._model.run(sample.inputs, moved)
        errors = [relative_error(outcome[name], array) for name, array in still.items() if name not in self._random]
        worst = max(errors, default=0.0)
        return worst if worst < float("inf") else "breaks any error budget: the outputs are not finite"
