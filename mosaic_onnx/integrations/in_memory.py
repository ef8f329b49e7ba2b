"""Partition a model that is in memory: to a plan that is given, or measured and planned as it stands."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from typing_extensions import Unpack

from mosaic_onnx.core.errors import ModelError, OutputsDifferError
from mosaic_onnx.core.graph.tensors import external_bytes
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.loading.model import OpenedModel
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.editing import without
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.options import CompileOptions, compile_passes
from mosaic_onnx.rewriting.canonical import DOMAIN


def is_partitioned(model: onnx.ModelProto) -> bool:
    """Return whether a model holds slices already."""
    return any(node.domain == DOMAIN for node in model.graph.node)


def partition_as_it_stands(
    model: onnx.ModelProto,
    folder: str | None = None,
    *,
    devices: Sequence[str] = (),
    cache: bool = True,
    **options: Unpack[CompileOptions],
) -> onnx.ModelProto:
    """Return a model measured on this machine's devices, planned, partitioned and proved; the given one stays as it is.

    Args:
        model: any model.
        folder: where its external data lies; None where it has none.
        devices: names, devices files or shipped descriptions; none for every real device of the model's precision.
        cache: keep measurements, and use kept ones.
        **options: see ``CompileOptions``.

    Raises:
        ModelError: the model is refused, or it is partitioned already.
        InfeasibleError: no plan satisfies the constraints.
        BackendError: a device failed.
        OutputsDifferError: the partitioned model does not compute what the model computes.
    """
    if is_partitioned(model):
        raise ModelError("the model is partitioned already", "partition the model that it was made of")
    passes = without(compile_passes(options), "load")
    request = options.get("request")
    selection = select(devices, lower=request is not None and request.max_error is not None)
    with tempfile.TemporaryDirectory(prefix="mosaic-") as temporary:
        opened = _opened(model, folder or temporary)
        state = run_passes(passes, State(opened.path, selection, Cache() if cache else None, opened=opened))
    canonical = state.delivered.canonical
    if not state.proof.passed or canonical is None:
        words = "; ".join(state.proof.failures[:3])
        raise OutputsDifferError(f"the partitioned model is not right: {words}")
    return canonical.model


def _opened(model: onnx.ModelProto, folder: str) -> OpenedModel:
    """Return a model in memory as one that was opened and rewritten."""
    path = Path(folder) / "model.onnx"
    return OpenedModel(model, path, Path(folder), "", external_bytes=external_bytes(model)).rewritten(model)
