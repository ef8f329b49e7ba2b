"""Checks of each slice alone, run on the original model's tensors.

A slice must be the right part of the model, its device must compute it within its precision, and on the provider that
the plan names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.verification.differences import Difference, difference
from mosaic_onnx.verification.half_precision import fed_at_cuts
from mosaic_onnx.verification.marks import Marks, find_marks
from mosaic_onnx.verification.reference import Reference, batches
from mosaic_onnx.verification.report import SliceCheck, TensorCheck
from mosaic_onnx.verification.sensitivity import disturbances, element_types, rounding_floor, rounding_of
from mosaic_onnx.verification.verdicts import judge, judge_cut, precisions_of, tolerance_of

CPU_PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class SlicedModel:
    """A model and its slices, as verification needs them.

    Attributes:
        model: the original model, topologically sorted, types inferred.
        folder: where its external data lies.
        slices: its slices.
        runners: [slice] the loaded slice.
        devices: [slice] its device.
        inputs: the model's inputs.
        tolerance: replaces the tolerance of the devices' precisions; None keeps it.
    """

    model: onnx.ModelProto
    folder: str | None
    slices: Sequence[SliceModel]
    runners: Sequence[Runner]
    devices: Sequence[Device]
    inputs: Mapping[str, Array]
    tolerance: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


def check_slices(
    sliced: SlicedModel, reference: Reference, outputs: Mapping[str, Array] | None = None
) -> Iterator[SliceCheck]:
    """Yield the check of each slice; tensors of the original model are held for a batch of slices at a time.

    Args:
        sliced: the model and its slices.
        reference: runs the model.
        outputs: of the model, where it ran already: the whole model as one slice is not run again.
    """
    known = {**sliced.inputs, **(outputs or {})}
    groups = [(*one.inputs, *one.outputs) for one in sliced.slices]
    for batch in batches(groups, sliced.sizes):
        names = [name for index in batch for name in groups[index]]
        tensors = known if known.keys() >= set(names) else reference.run(sliced.inputs, names)
        expected = tensors | _rounded_at_cuts(sliced, reference, [sliced.slices[index] for index in batch], tensors)
        for index in batch:
            yield _check(sliced, reference, index, tensors, expected)


def _rounded_at_cuts(
    sliced: SlicedModel, reference: Reference, slices: Sequence[SliceModel], tensors: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the slices' outputs by the original model with the cuts' roundings; empty without half precision."""
    fed = fed_at_cuts(sliced.model, slices) if reference.runtime == "ONNX Runtime" else None
    if fed is None:
        return {}
    whole = Reference(fed.model, sliced.folder, reference.runtime)
    try:
        inputs = {**sliced.inputs, **{name: tensors[cut] for cut, name in fed.feeds.items()}}
        return whole.run(inputs, [name for one in slices for name in one.outputs])
    finally:
        whole.close()


def _check(
    sliced: SlicedModel, reference: Reference, index: int, tensors: Mapping[str, Array], expected: Mapping[str, Array]
) -> SliceCheck:
    one, device, runner = sliced.slices[index], sliced.devices[index], sliced.runners[index]
    feeds = {name: tensors[name] for name in one.inputs}
    marks = find_marks(one.model)
    providers, misplaced = _placement(runner, device)
    try:
        alone = Reference(one.model, one.folder, reference.runtime)
        try:
            made = alone.run(feeds, one.outputs)
            cut = [judge_cut(difference(name, made.get(name), expected[name]), marks) for name in one.outputs]
            results = runner.run(feeds)
            differences = [difference(name, results.get(name), tensors[name]) for name in one.outputs]
            computed = _judged(sliced, one, device, differences, marks, alone, feeds)
        finally:
            alone.close()
    except MosaicError as error:
        return SliceCheck(index, device.name, providers=providers, misplaced=misplaced, error=error.message)
    ranges = _ranges({name: tensors[name] for name in one.outputs})
    return SliceCheck(index, device.name, tuple(cut), tuple(computed), providers, misplaced, ranges=ranges)


def _ranges(tensors: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """By tensor of floats, its least and its largest value; one that holds others than finite ones is left out."""
    found = {}
    for name, array in tensors.items():
        if np.issubdtype(array.dtype, np.floating) and array.size and bool(np.isfinite(array).all()):
            found[name] = (float(array.min()), float(array.max()))
    return found


def _judged(
    sliced: SlicedModel,
    one: SliceModel,
    device: Device,
    differences: Sequence[Difference],
    marks: Marks,
    alone: Reference,
    feeds: Mapping[str, Array],
) -> list[TensorCheck]:
    precisions = {device.precision, *precisions_of(one.model)}
    relative = sliced.tolerance or tolerance_of(precisions)
    amount = max(map(rounding_of, precisions))
    sources = disturbances(one.model, one.folder, alone, feeds, amount, element_types(sliced.model.graph))
    return [judge(found, relative, marks, sources, rounding_floor(feeds, amount)) for found in differences]


def _placement(runner: Runner, device: Device) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """Return the nodes by provider, and those that another provider than the device's runs."""
    assigned = runner.assignment()
    if assigned is None:
        return None, ()
    wanted = str(device.options.get("provider", CPU_PROVIDER)) if device.backend == "onnxruntime" else None
    misplaced = tuple(node for node, provider in assigned.items() if wanted is not None and provider != wanted)
    return dict(Counter(assigned.values())), misplaced
