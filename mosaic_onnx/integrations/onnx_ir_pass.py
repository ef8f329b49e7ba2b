"""A pass of ``onnx_ir``: it stands in their ``Sequential``, beside onnxscript's rewriter and others."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import Unpack

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.integrations.in_memory import is_partitioned, partition_as_it_stands
from mosaic_onnx.pipeline.options import CompileOptions
from mosaic_onnx.rewriting.rewrite import partition

try:
    import onnx_ir
except ImportError as error:
    raise UsageError("onnx_ir is not installed", "pip install 'mosaic-onnx[onnx-ir]'") from error


class PartitionPass(onnx_ir.passes.FunctionalPass):
    """Cut a model into slices: to a plan that is given, else measured and planned as the passes before it left it.

    A model that is partitioned already comes out as it went in.
    """

    def __init__(
        self,
        profile: Profile | None = None,
        plan: Plan | None = None,
        *,
        devices: Sequence[str] = (),
        cache: bool = True,
        **options: Unpack[CompileOptions],
    ) -> None:
        """Keep what the model is cut to.

        Args:
            profile: whose layers name the model's nodes; None measures.
            plan: whose slices cover the layers; None plans.
            devices: that take part where nothing is given; none for every real device of the model's precision.
            cache: keep measurements, and use kept ones.
            **options: of measuring and planning; see ``CompileOptions``.

        Raises:
            UsageError: one of profile and plan is given without the other.
        """
        if (profile is None) != (plan is None):
            raise UsageError("a plan goes with the profile that it was made from", "give both, or neither")
        self._profile, self._plan = profile, plan
        self._devices, self._cache, self._options = devices, cache, options

    def requires(self, model: onnx_ir.Model) -> None:
        """Refuse a model whose external data lies in several folders.

        Raises:
            ModelError: it does.
        """
        if len(_folders(model)) > 1:
            raise ModelError(f"its external data lies in several folders: {', '.join(sorted(_folders(model)))}")

    def call(self, model: onnx_ir.Model) -> onnx_ir.passes.PassResult:
        """Return the partitioned model; the given one stays as it is.

        Raises:
            MosaicError: it cannot be partitioned.
        """
        folder = next(iter(_folders(model)), None)
        proto = onnx_ir.to_proto(model)
        modified = not is_partitioned(proto)
        if modified and self._profile is not None and self._plan is not None:
            proto = partition(proto, self._profile, self._plan)
        elif modified:
            proto = partition_as_it_stands(proto, folder, devices=self._devices, cache=self._cache, **self._options)
        made = onnx_ir.from_proto(proto)
        if folder is not None:
            onnx_ir.external_data.set_base_dir(made.graph, folder)
        return onnx_ir.passes.PassResult(made, modified)


def _folders(model: onnx_ir.Model) -> set[str]:
    """Return where the external data of a model's weights lies."""
    values = (value.const_value for value in model.graph.initializers.values())
    return {str(one.base_dir) for one in values if isinstance(one, onnx_ir.ExternalTensor)}
