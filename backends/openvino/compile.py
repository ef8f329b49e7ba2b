"""Compile slices with OpenVINO: make them self-contained and legal, check them, compile them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from tempfile import NamedTemporaryFile
from typing import Any

import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.huge_pages import bytes_read_once, on_huge_pages
from mosaic_onnx.backends.legalise import legalise
from mosaic_onnx.backends.openvino.claims import slice_bounds, unsupported_slice
from mosaic_onnx.backends.openvino.graph import input_ports, output_ports, wrong_arithmetic
from mosaic_onnx.backends.openvino.kernels import RECORDING
from mosaic_onnx.backends.openvino.maps import too_many_maps
from mosaic_onnx.backends.openvino.options import OpenvinoOptions
from mosaic_onnx.backends.openvino.quiet import openvino_module
from mosaic_onnx.backends.openvino.rewrites import unsigned_after_concat
from mosaic_onnx.backends.openvino.runner import Port, short_reason
from mosaic_onnx.core.errors import BackendError, MosaicError
from mosaic_onnx.core.graph.tensors import external_bytes, is_external, tensor_bytes
from mosaic_onnx.core.process.shared_folder import is_shared_folder

_LARGEST_MESSAGE_BYTES = 2**31 - 2**20
_MANY_BYTES, _LARGE_BYTES = 2**28, 2**20
"""Above the first total of external weights, those of at least the second size are mapped, not loaded."""
_REWRITTEN = ("Dropout", "Softmax")
"""OpenVINO computes the Softmax of operator sets before 13 wrong, and infers wrong types for Dropout."""


@dataclass(frozen=True)
class Compiled:
    """A compiled slice.

    Attributes:
        model: the ``ov.CompiledModel``.
        inputs: in the slice's order.
        outputs: in the slice's order.
    """

    model: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@cache
def core() -> Any:
    """Return the process's ``ov.Core``, which holds OpenVINO's plugins."""
    return openvino_module().Core()


def compile_slice(model: SliceModel, label: str, options: OpenvinoOptions, recording: bool = False) -> Compiled:
    """Compile a slice.

    Args:
        model: the slice; it is not changed.
        label: its name in messages: slice and device.
        options: the device's options.
        recording: keep the time of each kernel.

    Raises:
        BackendError: OpenVINO refuses it, or would not follow ONNX's definition.
    """
    with named_failure(label):
        proto = _self_contained(model, label)
        _refuse(label, unsupported_slice(proto.graph))
        _refuse(label, too_many_maps(len(proto.graph.node)))
        read = _read(proto, model.folder)
        _refuse(label, wrong_arithmetic(read))
        inputs = input_ports(read, true_inputs(proto.graph), slice_bounds(proto.graph), label)
        outputs = output_ports(read, proto.graph.output, label)
        configuration = options.configuration() | (RECORDING if recording else {})
        with on_huge_pages(bytes_read_once(proto.graph)):
            compiled = core().compile_model(read, options.plugin, configuration)
        return Compiled(compiled, inputs, outputs)


def _refuse(label: str, reason: str | None) -> None:
    if reason is not None:
        raise BackendError(f"{label}: {reason}")


@contextmanager
def named_failure(label: str) -> Iterator[None]:
    """Turn exceptions of OpenVINO into a BackendError that names slice and device."""
    try:
        yield
    except MosaicError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError and more
        raise BackendError(f"{label}: {short_reason(error)}") from error


def _self_contained(model: SliceModel, label: str) -> onnx.ModelProto:
    """Return the slice with functions inlined (OpenVINO has none), external weights loaded, and legal operators.

    Where there are many external weights, or they lie in memory already, the large ones stay outside and are mapped.
    For that, their folder must be writable for a temporary file.

    Raises:
        BackendError: it would exceed 2 GiB, the most that one protobuf message holds.
    """
    from onnx import external_data_helper, inliner

    proto = model.model
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    if model.folder is not None:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        if not _maps_weights(copy, model.folder):
            external_data_helper.load_external_data_for_model(copy, model.folder)
        for tensor in copy.graph.initializer:
            if is_external(tensor) and tensor_bytes(tensor.data_type, list(tensor.dims)) < _LARGE_BYTES:
                external_data_helper.load_external_data_for_tensor(tensor, model.folder)
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        proto = copy
    held_bytes = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if held_bytes > _LARGEST_MESSAGE_BYTES:
        raise BackendError(
            f"{label}: its weights are {held_bytes / 1e9:.1f} GB, more than OpenVINO can be handed at once (2 GiB)",
            "cap its slices: --slice-memory",
        )
    return unsigned_after_concat(legalise(proto, _REWRITTEN))


def _maps_weights(model: onnx.ModelProto, folder: str) -> bool:
    return (external_bytes(model) > _MANY_BYTES or is_shared_folder(folder)) and os.access(folder, os.W_OK)


def _read(proto: onnx.ModelProto, folder: str | None) -> Any:
    """Return OpenVINO's model of an ONNX model; it maps external weights in the folder of the model's file."""
    if not any(is_external(tensor) for tensor in proto.graph.initializer):
        return core().read_model(proto.SerializeToString())
    with NamedTemporaryFile(dir=folder, prefix=".mosaic-", suffix=".onnx") as file:
        file.write(proto.SerializeToString())
        file.flush()
        return core().read_model(file.name)


def true_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the graph's inputs that have no initialiser."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]
