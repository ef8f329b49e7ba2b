"""Pass: the planned model as one file of slice functions, and each slice as a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.plans import Plan
from mosaic_onnx.profiles import Profile
from mosaic_onnx.rewriting.canonical import partition, slice_nodes
from mosaic_onnx.rewriting.extracting import Extractor
from mosaic_onnx.rewriting.tags import layer_assignment_settings

__all__ = ["Extractor", "Rewrite", "Rewritten", "extract", "layer_assignment_settings", "partition", "slice_models"]


@dataclass(frozen=True)
class Rewritten:
    """The canonical file's model, and the slices in the plan's order."""

    model: onnx.ModelProto
    slices: tuple[SliceModel, ...]


@dataclass(frozen=True)
class Rewrite:
    """Rewrites a model to a plan."""

    profile: Profile
    plan: Plan

    def __call__(self, original: onnx.ModelProto, normalised: onnx.ModelProto, folder: str | None) -> Rewritten:
        """Rewrite.

        Args:
            original: as it was opened; the canonical file is made of it, so that its free dimensions stay free.
            normalised: with concrete shapes; the slices are made of it.
            folder: where the external data of both lies.
        """
        canonical = partition(original, self.profile, self.plan)
        return Rewritten(canonical, slice_models(normalised, folder, self.plan, self.profile))


def extract(
    model: onnx.ModelProto, folder: str | None, node_keys: Iterable[str], outputs: Sequence[str] | None = None
) -> SliceModel:
    """A set of nodes as a model of its own; see ``Extractor``, which indexes the model once for many sets.

    Raises:
        ModelError: a key names no node, a value's type is unknown, or an output is not made by these nodes.
    """
    return Extractor(model, folder).extract(node_keys, outputs)


def slice_models(model: onnx.ModelProto, folder: str | None, plan: Plan, profile: Profile) -> tuple[SliceModel, ...]:
    """Each slice of the plan as a model of its own, in the plan's order.

    Outputs of the model that are weights, and so made by no node, are given by the first slice.

    Args:
        model: normalised.
        folder: where its external data lies.
        plan: whose slices they are.
        profile: whose layers name the nodes.

    Raises:
        ModelError: profile or plan are not of this model.
    """
    extractor = Extractor(model, folder)
    keys = [slice_nodes(profile, plan, number) for number in range(len(plan.slices))]
    slices = [extractor.extract(each) for each in keys]
    index = extractor.index
    constant = [name for name in index.outputs if index.is_parameter(name)]
    if constant and slices:
        slices[0] = replace(extractor.extract(keys[0], [*slices[0].outputs, *constant]))
    return tuple(slices)
