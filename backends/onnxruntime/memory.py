"""Device memory of a provider: buffers over ``OrtValue``, for any device type."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper

from mosaic_onnx.backends.base import Array
from mosaic_onnx.backends.onnxruntime.types import lies_flat, numpy_type
from mosaic_onnx.core.errors import BackendError

Allocate = Callable[[tuple[int, ...], int], Any]
"""Creates an ``ort.OrtValue`` in device memory from a shape and an ONNX element type."""


def element_type_of_array(dtype: np.dtype[np.generic]) -> int:
    """Return the ONNX element type of a numpy (or ml_dtypes) type."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def host_value(array: Array) -> Any:
    """Return an ``ort.OrtValue`` that is the host array itself, not a copy."""
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, element_type_of_array(array.dtype))


@dataclass(frozen=True)
class OrtBuffer:
    """A tensor in device memory.

    Attributes:
        value: the ``ort.OrtValue`` that sessions of the same device bind.
        device: the device's name, for messages.
        dtype: element type of the host arrays that it exchanges.
        shape: its shape.
        turn: held while the provider copies.
        is_plugins: the provider is a plugin, whose copies ONNX Runtime's environment knows; a built-in one copies
            through the value itself.
    """

    value: Any
    device: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    is_plugins: bool = True

    def upload(self, array: Array) -> None:
        """Copy a host array in; returns when the array may be changed."""
        self._copy(array, upload=True)

    def download(self, array: Array) -> None:
        """Copy out into a host array; waits for all work that produces the tensor (the only cheap barrier)."""
        self._copy(array, upload=False)

    def _copy(self, array: Array, upload: bool) -> None:
        import onnxruntime as ort

        if array.shape != self.shape or array.dtype != self.dtype or not array.flags.c_contiguous:
            raise BackendError(
                f"device {self.device}: an array of {array.dtype} {array.shape} does not fit "
                f"a buffer of {self.dtype} {self.shape}",
                "arrays must be contiguous and of the buffer's type and shape",
            )
        try:
            with self.turn:
                if self.is_plugins:
                    host = host_value(array)
                    ort.copy_tensors(*(([host], [self.value]) if upload else ([self.value], [host])))
                elif upload:
                    self.value.update_inplace(array)
                else:
                    array[...] = self.value.numpy()
        except Exception as error:  # the binding raises plain RuntimeError and its own types
            raise BackendError(f"device {self.device}: a copy of {self.dtype} {self.shape} failed: {error}") from error


@dataclass(frozen=True)
class OrtMemory:
    """Memory of one device.

    Attributes:
        device: the device's name, for messages.
        new_value: creates an ``ort.OrtValue`` there.
        turn: held while the provider allocates and copies.
        is_plugins: as for the buffers.
    """

    device: str
    new_value: Allocate
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    is_plugins: bool = True

    def allocate(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> OrtBuffer:
        """Return a new buffer; contents undefined.

        Raises:
            BackendError: the device does not have the type, or not enough memory.
        """
        element_type = element_type_of_array(np.dtype(dtype))
        if not lies_flat(element_type):
            raise BackendError(f"device {self.device}: tensors of {dtype} cannot lie in its memory")
        try:
            with self.turn:
                value = self.new_value(tuple(shape), element_type)
        except Exception as error:  # the binding raises plain RuntimeError and its own types
            raise BackendError(f"device {self.device}: no buffer of {dtype} {shape}: {error}") from error
        return OrtBuffer(value, self.device, numpy_type(element_type), tuple(shape), self.turn, self.is_plugins)


def memory_of_type(device: str, device_type: str, number: int) -> OrtMemory:
    """Return the memory of a built-in provider, by ONNX Runtime's name of the device type.

    Args:
        device: the device's name, for messages.
        device_type: ``cuda``, ``dml``, ``webgpu``, …
        number: index of the device of that type.
    """
    import onnxruntime as ort

    return OrtMemory(
        device,
        lambda shape, element_type: ort.OrtValue.ortvalue_from_shape_and_type(shape, element_type, device_type, number),
        is_plugins=False,
    )
