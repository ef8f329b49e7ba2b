"""The model being profiled: its layers, slices of consecutive layers, and the reference's tensors as their inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import onnx

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.core.errors import InputsRefusedError
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.profiling.digest import Digest, slice_digest
from mosaic_onnx.profiling.measuring.slices import SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.verification.marks import RANDOM_OPERATORS

Extract = Callable[[Sequence[str], Sequence[str]], SliceModel]
"""Extracts a slice from node keys and output names."""
Span = tuple[int, int]
"""First and last layer of a slice, both included."""

BATCH_BYTES = 512 << 20
"""Cap on the reference's tensors that are held at once."""


class TensorSource(Protocol):
    """The original model's tensors.

    Attributes:
        is_right: the model computes them; false for made-up ones, where no runtime runs the whole model.
        refusal: why it does not, where that is its inputs' fault.
        notes: remarks for the user.
    """

    is_right: bool
    refusal: InputsRefusedError | None
    notes: list[str]

    def __call__(self, names: Collection[str]) -> Mapping[str, Array]:
        """Return the named tensors, all from one run."""


@dataclass
class ProfiledModel:
    """A model that is being profiled.

    Attributes:
        graph: its layers.
        digests: [L] layers of equal digest have equal costs.
        makers: the layer that produces each value of the model, including values inside layers.
        extract: extracts slices.
        reference: runs the original model.
        identity: digest of model and inputs, where a cost depends on values.
        held: the reference's tensors that are in memory.
        known: digests of slices computed so far.
        layer_s: by layer, the least that it takes on a device measured before.
    """

    graph: LayerGraph
    digests: Sequence[Digest]
    makers: Mapping[str, int]
    extract: Extract
    reference: TensorSource
    identity: str = ""
    held: dict[str, Array] = field(default_factory=dict)
    known: dict[Span, Digest] = field(default_factory=dict)
    layer_s: dict[int, float] = field(default_factory=dict)

    @property
    def notes(self) -> Sequence[str]:
        """Return the reference's remarks for the user."""
        return self.reference.notes

    @cached_property
    def readers(self) -> Mapping[str, tuple[int, ...]]:
        """Return the layers that read each tensor, ascending."""
        found: dict[str, list[int]] = {}
        for index, layer in enumerate(self.graph.layers):
            for name in layer.inputs:
                found.setdefault(name, []).append(index)
        return {name: tuple(indices) for name, indices in found.items()}

    def inputs(self, span: Span) -> tuple[str, ...]:
        """Return the tensors that a slice reads from outside, in order of first use."""
        layers = self.graph.layers[span[0] : span[1] + 1]
        made = {name for layer in layers for name in layer.outputs}
        return tuple(dict.fromkeys(name for layer in layers for name in layer.inputs if name not in made))

    def outputs(self, span: Span) -> tuple[str, ...]:
        """Return the tensors of a slice that later layers or the model's outputs need."""
        final = set(self.graph.outputs)
        return tuple(
            name
            for layer in self.graph.layers[span[0] : span[1] + 1]
            for name in layer.outputs
            if name in final or self.readers.get(name, (0,))[-1] > span[1]
        )

    def digest(self, span: Span) -> Digest:
        """Return the slice's digest; slices of equal digest have equal costs."""
        if span not in self.known:
            first, last = span
            layers = self.graph.layers[first : last + 1]
            self.known[span] = slice_digest(self.digests[first : last + 1], layers, self.outputs(span))
        return self.known[span]

    def slice_model(self, span: Span) -> SliceModel:
        """Return the slice as a model of its own."""
        keys = [key for layer in self.graph.layers[span[0] : span[1] + 1] for key in layer.nodes]
        return self.extract(keys, self.outputs(span))

    def layers_of(self, model: onnx.ModelProto, first: int) -> list[int]:
        """Return the layer of each node of a slice's model, counted from the slice's first layer."""
        makers = [
            next((self.makers[name] for name in node.output if name in self.makers), first) for node in model.graph.node
        ]
        return [maker - first for maker in makers]

    def trial(self, span: Span, budget: TimeBudget) -> SliceTrial:
        """Return the slice's inputs and expected outputs."""
        inputs, outputs = self.inputs(span), self.outputs(span)
        self.hold({*inputs, *outputs})
        expected = {name: self.held[name] for name in outputs} if self.reference.is_right else {}
        return SliceTrial({name: self.held[name] for name in inputs}, expected, budget, self._known_s(span))

    def learn(self, layer_s: Mapping[int, float]) -> None:
        """Note what layers take on a device: how long others may be waited for goes by it."""
        for layer, seconds in layer_s.items():
            self.layer_s[layer] = min(seconds, self.layer_s.get(layer, seconds))

    def _known_s(self, span: Span) -> float | None:
        """Return what a slice takes elsewhere; None where that of one of its layers is not known."""
        layers = range(span[0], span[1] + 1)
        return sum(self.layer_s[layer] for layer in layers) if all(layer in self.layer_s for layer in layers) else None

    def hold(self, names: Collection[str]) -> None:
        """Load these tensors of the reference into memory; others are dropped if all together exceed the cap.

        Where the model draws random numbers, no two runs agree: then all tensors come from one run.
        """
        missing = [name for name in names if name not in self.held]
        if not missing:
            return
        if self._is_random:
            self.held = dict(self.reference(list(names)))
            return
        if self._bytes(self.held) + self._bytes(missing) > BATCH_BYTES:
            self.held = {name: array for name, array in self.held.items() if name in names}
        self.held.update(self.reference(missing))

    def hold_all(self, spans: Sequence[Span]) -> None:
        """Load the inputs and outputs of these slices into memory, from one run of the reference."""
        self.hold({name for span in spans for name in (*self.inputs(span), *self.outputs(span))})

    @cached_property
    def _is_random(self) -> bool:
        return any(RANDOM_OPERATORS.intersection(layer.op_types) for layer in self.graph.layers)

    def batches(self, spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
        """Yield slices in groups whose tensors fit the cap together; the reference runs once per group."""
        batch: list[Span] = []
        names: set[str] = set()
        for span in spans:
            more = names.union(self.inputs(span), self.outputs(span))
            if batch and self._bytes(more) > BATCH_BYTES:
                yield batch
                batch, more = [], {*self.inputs(span), *self.outputs(span)}
            batch.append(span)
            names = more
        if batch:
            yield batch

    def _bytes(self, names: Collection[str]) -> int:
        return sum(self.graph.tensors[name].bytes for name in names if name in self.graph.tensors)
