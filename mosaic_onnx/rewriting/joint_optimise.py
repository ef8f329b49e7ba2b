"""Neighbouring slices of one device, cut from what its runtime makes of them together.

A cut between two slices of the same device then costs no fusion and no change of layout. A slice without such a
neighbour is optimised as far as was measured to be fastest. What comes out fits this machine only; the portable slices
stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import onnx

from mosaic_onnx.backends.base import Backend, Optimises, SliceModel
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.graph.graphs import node_keys, writes
from mosaic_onnx.core.graph.tensors import weight_bytes
from mosaic_onnx.core.plans import Plan, Slice
from mosaic_onnx.rewriting.extracting import Extractor
from mosaic_onnx.rewriting.optimised import cut_optimised

MOST_BYTES = 2**30
"""Weights of slices that are optimised together are held in memory; larger slices are not optimised."""


@dataclass(frozen=True)
class Tune:
    """Optimises neighbouring slices of one device together.

    Attributes:
        devices: by name.
        backends: by name.
        pick: the device of a slice told to optimise otherwise (``profiling.optimisation_level``), None where it is best
            as it is; without it every slice is optimised as its device's options say.
    """

    devices: Mapping[str, Device]
    backends: Mapping[str, Backend]
    pick: Callable[[Slice], Device | None] | None = None

    def __call__(
        self,
        original: onnx.ModelProto,
        folder: str | None,
        plan: Plan,
        slices: Sequence[SliceModel],
        extractor: Extractor | None = None,
    ) -> tuple[SliceModel, ...]:
        """Return the slices as they run best on this machine: neighbours on one device cut again after optimisation.

        Args:
            original: the normalised model.
            folder: where its external data lies.
            plan: whose slices name their nodes.
            slices: the portable ones, in the plan's order.
            extractor: of ``original`` and ``folder``, if there is one already.
        """
        tuned = list(slices)
        for first, last in runs(plan):
            device = self.devices[device_of(plan.slices[first].state)]
            backend = self.backends.get(device.backend)
            small = sum(weight_bytes(one.model.graph) for one in slices[first : last + 1]) <= MOST_BYTES
            if isinstance(backend, Optimises) and small and not device.host:
                extractor = extractor or Extractor(original, folder)
                cut = _cut(extractor, plan, first, last, backend, device)
                tuned[first : last + 1] = cut or slices[first : last + 1]
        for number in lone(plan):
            tuned[number] = self._as_picked(plan.slices[number], slices[number])
        return tuple(tuned)

    def _as_picked(self, placed: Slice, portable: SliceModel) -> SliceModel:
        """Return the slice at the optimisation level that was picked for it."""
        if self.pick is None or weight_bytes(portable.model.graph) > MOST_BYTES:
            return portable
        device = self.pick(placed)
        backend = None if device is None else self.backends.get(device.backend)
        if device is None or not isinstance(backend, Optimises):
            return portable
        try:
            return backend.optimise(portable, device) or portable
        except BackendError:
            return portable


def runs(plan: Plan) -> Iterator[tuple[int, int]]:
    """Yield the first and last index of each run of at least two neighbouring slices in one state."""
    return ((members[0], members[-1]) for members in _stretches(plan) if len(members) > 1)


def lone(plan: Plan) -> Iterator[int]:
    """Yield the index of each slice whose neighbours are in other states."""
    return (members[0] for members in _stretches(plan) if len(members) == 1)


def _stretches(plan: Plan) -> Iterator[list[int]]:
    for _, group in groupby(range(len(plan.slices)), key=lambda number: plan.slices[number].state):
        yield list(group)


def _cut(
    extractor: Extractor, plan: Plan, first: int, last: int, backend: Optimises, device: Device
) -> tuple[SliceModel, ...] | None:
    """Return the slices of one run; None where the optimised model cannot be cut."""
    nodes = dict(zip(node_keys(extractor.index.model.graph), extractor.index.model.graph.node, strict=True))
    parts = [plan.slices[number].nodes for number in range(first, last + 1)]
    made = [[name for key in part for name in writes(nodes[key])] for part in parts]
    try:
        optimised = backend.optimise(extractor.extract([key for part in parts for key in part]), device)
        return None if optimised is None else cut_optimised(optimised, made, f"tuned{first}/")
    except BackendError:
        return None
