"""Cut plans of one model into slices, portable and tuned; the model is indexed once for all of them."""

from __future__ import annotations

from typing import NamedTuple

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.optimisation_level import PickOptimisation
from mosaic_onnx.profiling.setup import ProfileOptions
from mosaic_onnx.rewriting.joint_optimise import Tune
from mosaic_onnx.rewriting.rewrite import Extractor, slice_models

Slices = tuple[SliceModel, ...]


class Cut(NamedTuple):
    """The slices of a plan, in its order: for any machine, and as they run best on this one."""

    portable: Slices
    tuned: Slices


class SliceCutter:
    """Cut the plans of one model."""

    def __init__(
        self, normalised: Normalised, graph: LayerGraph, selection: Selection, options: ProfileOptions
    ) -> None:
        """Keep what plans are cut from.

        Args:
            normalised: the model.
            graph: its layers.
            selection: devices that take part.
            options: how slices are measured, where a device offers several levels of optimisation.
        """
        places = selection.by_name, selection.backends
        self._normalised = normalised
        self._tune = Tune(*places, PickOptimisation(normalised, graph, *places, options))
        self._extractor: Extractor | None = None

    def __call__(self, profile: Profile, plan: Plan) -> Cut:
        """Return the slices of a plan.

        Args:
            profile: whose layers name the nodes.
            plan: whose slices they are.

        Raises:
            ModelError: profile or plan are not of this model.
        """
        model, folder = self._normalised.model, self._normalised.folder
        self._extractor = self._extractor or Extractor(model, folder)
        slices = slice_models(model, folder, plan, profile, self._extractor)
        return Cut(slices, self._tune(model, folder, plan, slices, self._extractor))
