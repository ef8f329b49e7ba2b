"""Rewrite a planned model: one file of slice functions, and each slice as a model of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.graph.tensors import external_bytes, is_external
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.loading.children import Children
from mosaic_onnx.loading.model import Limits, OpenedModel, loads_in_runtime
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.rewriting.canonical import partition, slice_nodes
from mosaic_onnx.rewriting.extracting import Extractor
from mosaic_onnx.rewriting.tags import layer_assignment_settings

__all__ = [
    "Canonical",
    "Extractor",
    "canonical_model",
    "extract",
    "layer_assignment_settings",
    "partition",
    "slice_models",
]

REFUSES = "ONNX Runtime refuses the partitioned file"
"""Start of the note on a canonical file that does not load."""


@dataclass(frozen=True)
class Canonical:
    """The canonical file before it is written.

    Attributes:
        model: the model; external data stays where the input's lies, or where a compilation shares it.
        folder: the folder of that data.
        notes: notes on exceptions, one sentence each.
        refusal: why ONNX Runtime does not load it; None where it does.
    """

    model: onnx.ModelProto
    folder: str
    notes: tuple[str, ...] = ()
    refusal: str | None = None


def canonical_model(
    opened: OpenedModel,
    normalised: Normalised,
    profile: Profile,
    plan: Plan,
    limits: Limits | None = None,
    children: Children | None = None,
) -> Canonical:
    """Return the canonical model; slices that ONNX Runtime refuses as functions stay as tagged nodes.

    Args:
        opened: the canonical file is made of it, so that its free dimensions stay free.
        normalised: knows the types of values that the model does not declare.
        profile: whose layers name the nodes.
        plan: whose slices become functions.
        limits: caps on the trial in ONNX Runtime.
        children: a child of theirs loads it there.
    """
    graph = normalised.model.graph
    types = {value.name: value.type for value in (*graph.value_info, *graph.output)}
    inline: set[int] = set()
    notes: list[str] = []
    source, folder = _on_shared_weights(opened, normalised)
    while True:
        model = partition(source, profile, plan, types=types, inline=inline)
        refusal = loads_in_runtime(model, Path(folder), external_bytes(source), limits, children)
        if refusal is None or len(inline) == len(plan.slices):
            if refusal is not None:
                notes.append(f"{REFUSES}: {refusal}")
            return Canonical(model, folder, tuple(notes), refusal)
        named = re.search(r"\(slice_(\d+)_*\)", refusal)
        number = int(named.group(1)) if named else -1
        culprits = {number} if number >= 0 and number not in inline else set(range(len(plan.slices)))
        for each in sorted(culprits - inline):
            notes.append(f"slice {each} is kept as tagged nodes: ONNX Runtime refuses it as a function ({refusal})")
        inline |= culprits


def _on_shared_weights(opened: OpenedModel, normalised: Normalised) -> tuple[onnx.ModelProto, str]:
    """Return the opened model, its weights where those of the normalised one lie if they are shared, and the folder."""
    if normalised.held is None or opened.external_bytes:
        return opened.model, str(opened.folder)
    shared = {tensor.name: tensor for tensor in normalised.model.graph.initializer if is_external(tensor)}
    model = onnx.ModelProto()
    model.CopyFrom(opened.model)
    for tensor in model.graph.initializer:
        if tensor.name in shared:
            tensor.CopyFrom(shared[tensor.name])
    return model, normalised.folder


def extract(
    model: onnx.ModelProto, folder: str | None, node_keys: Iterable[str], outputs: Sequence[str] | None = None
) -> SliceModel:
    """Return a set of nodes as a model of its own; see ``Extractor``, which indexes the model once for many sets.

    Raises:
        ModelError: a key names no node, a value's type is unknown, or an output is not made by these nodes.
    """
    return Extractor(model, folder).extract(node_keys, outputs)


def slice_models(
    model: onnx.ModelProto, folder: str | None, plan: Plan, profile: Profile, extractor: Extractor | None = None
) -> tuple[SliceModel, ...]:
    """Return each slice of the plan as a model of its own, in the plan's order.

    Outputs of the model that are weights, which no node produces, are outputs of the first slice.

    Args:
        model: normalised.
        folder: where its external data lies.
        plan: whose slices they are.
        profile: whose layers name the nodes.
        extractor: of this model and folder, if there is one already; several plans then share an index.

    Raises:
        ModelError: profile or plan are not of this model.
    """
    extractor = extractor or Extractor(model, folder)
    keys = [slice_nodes(profile, plan, number) for number in range(len(plan.slices))]
    slices = [extractor.extract(each) for each in keys]
    index = extractor.index
    constant = [name for name in index.outputs if index.is_parameter(name)]
    if constant and slices:
        slices[0] = extractor.extract(keys[0], [*slices[0].outputs, *constant])
    return tuple(slices)
