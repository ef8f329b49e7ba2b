"""A slice loaded into OpenVINO: run on host arrays, or bound once to them and called without a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mosaic_onnx.backends.base import Array, Place
from mosaic_onnx.backends.integers import is_cut_to_32_bits, limited_to_32_bits, passes_32_bits
from mosaic_onnx.backends.openvino.quiet import openvino_module
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.process.cpu_cores import pinned

_IN_PLACE: tuple[dict[str, object], bool, bool] = ({}, True, True)
"""Arguments of OpenVINO's own ``infer``: no new inputs, outputs shared, strings decoded."""


@dataclass(frozen=True)
class Port:
    """One input or output of the compiled model.

    Attributes:
        name: the tensor's name in the slice.
        index: its position in OpenVINO's list; None for an empty input that it dropped.
        dtype: numpy (or ml_dtypes) type of its host arrays.
        dims: declared shape, None for a dimension known only when it runs; None where the rank is.
        is_bound: it is only a bound of Slice.
    """

    name: str
    index: int | None
    dtype: np.dtype[np.generic]
    dims: tuple[int | None, ...] | None
    is_bound: bool = False

    @property
    def is_narrowed(self) -> bool:
        """Return whether OpenVINO's CPU plugin computes the type in int32, so that larger values wrap."""
        return is_cut_to_32_bits(self.dtype)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Return whether a shape fits the declared one."""
        return self.dims is None or (
            len(shape) == len(self.dims)
            and all(wanted in (None, given) for wanted, given in zip(self.dims, shape, strict=True))
        )


class OpenvinoRunner:
    """A loaded slice."""

    def __init__(
        self,
        compiled: Any,
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        label: str,
        cores: frozenset[int] | None,
    ) -> None:
        """Take over a compiled model.

        Args:
            compiled: the ``ov.CompiledModel``.
            inputs: its inputs, in the slice's order.
            outputs: its outputs, in the slice's order.
            label: its name in messages: slice and device.
            cores: cores to which the calling thread is pinned during a run.
        """
        self._compiled = compiled
        self._request: Any = None
        self._inputs = {port.name: port for port in inputs}
        self._outputs = {port.name: port for port in outputs}
        self._label = label
        self._cores = cores

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays of any legal shape; complete when it returns.

        Raises:
            BackendError: OpenVINO failed, or an input is missing or does not fit.
        """
        compiled = self._open_model()
        missing = [name for name in self._inputs if name not in inputs]
        if missing:
            raise BackendError(f"{self._label}: input {missing[0]!r} is missing")
        arrays = {}
        for name, port in self._inputs.items():
            self._check_fit(port, inputs[name])
            arrays[name] = self._narrowed(port, np.require(inputs[name], requirements=["C", "W"]))
        with self._named_failure(), pinned(self._cores):
            if self._request is None:
                self._request = compiled.create_infer_request()
            for name, array in arrays.items():
                self._set_input(self._request, name, array)
            self._request.infer()
            return {
                name: array_of(self._request.get_output_tensor(port.index), port)
                for name, port in self._outputs.items()
            }

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Bind inputs and outputs to places and return the call that runs in place.

        Raises:
            BackendError: a place is not a host array, or its shape or type does not fit.
        """
        compiled = self._open_model()
        if set(inputs) != set(self._inputs) or not set(outputs) <= set(self._outputs):
            wanted = sorted(set(self._inputs) ^ set(inputs) | (set(outputs) - set(self._outputs)))
            raise BackendError(f"{self._label}: bind was given other tensors than the slice has: {', '.join(wanted)}")
        arrays = {name: self._array(name, place) for name, place in {**inputs, **outputs}.items()}
        for name, array in arrays.items():
            self._check_fit((self._inputs | self._outputs)[name], array)
        narrowed = {name: np.zeros_like(arrays[name]) for name in inputs if self._inputs[name].is_narrowed}
        with self._named_failure():
            request = compiled.create_infer_request()
            for name in inputs:
                self._set_input(request, name, narrowed.get(name, arrays[name]))
            for name in outputs:
                request.set_output_tensor(self._outputs[name].index, tensor_over(arrays[name]))
        return self._call(request, arrays, [(self._inputs[name], arrays[name], own) for name, own in narrowed.items()])

    def _set_input(self, request: Any, name: str, array: Array) -> None:
        index = self._inputs[name].index
        if index is not None:
            request.set_input_tensor(index, tensor_over(array))

    def _call(
        self, request: Any, arrays: Mapping[str, Array], narrowed: list[tuple[Port, Array, Array]]
    ) -> Callable[[], None]:
        """Return the call that runs in place; it keeps the arrays alive."""
        from openvino._pyopenvino import InferRequest

        infer_raw, cores, named_failure = InferRequest.infer, self._cores, self._named_failure

        def call(_held: object = arrays) -> None:
            for port, given, own in narrowed:
                own[...] = self._narrowed(port, given)
            try:
                with pinned(cores):
                    infer_raw(request, *_IN_PLACE)
            except Exception:
                with named_failure():
                    raise

        return call

    def _check_fit(self, port: Port, array: Array) -> None:
        if array.dtype != port.dtype:
            raise BackendError(f"{self._label}: tensor {port.name!r} is of type {port.dtype}, not {array.dtype}")
        if not port.takes(array.shape):
            raise BackendError(
                f"{self._label}: tensor {port.name!r} has shape {list(port.dims or ())}, not {list(array.shape)}"
            )

    def _narrowed(self, port: Port, array: Array) -> Array:
        """Return the array for OpenVINO's 32-bit integers: bounds of Slice may be limited, other values may not.

        Raises:
            BackendError: it has integers that OpenVINO would wrap silently.
        """
        if not port.is_narrowed or not passes_32_bits(array):
            return array
        if port.is_bound:
            return limited_to_32_bits(array)
        raise BackendError(
            f"{self._label}: input {port.name!r} holds integers beyond 32 bits, which OpenVINO would wrap",
            "pin the layers that read it to another device",
        )

    def _array(self, name: str, place: Place) -> Array:
        if not isinstance(place, np.ndarray):
            raise BackendError(f"{self._label}: tensor {name!r} is bound to a buffer of another device")
        if not place.flags.c_contiguous:
            raise BackendError(f"{self._label}: tensor {name!r} is bound to an array that is not contiguous")
        return place

    def assignment(self) -> Mapping[str, str] | None:
        """Return None: OpenVINO runs the whole slice or refuses it, and its nodes are not the slice's."""
        return None

    def close(self) -> None:
        """Release memory and threads; calling it twice is harmless."""
        self._compiled = self._request = None

    def _open_model(self) -> Any:
        if self._compiled is None:
            raise BackendError(f"{self._label}: it was closed")
        return self._compiled

    @contextmanager
    def _named_failure(self) -> Iterator[None]:
        """Turn exceptions of OpenVINO into a BackendError that names slice and device."""
        try:
            yield
        except Exception as error:  # OpenVINO raises RuntimeError, TypeError and more
            raise BackendError(f"{self._label}: {short_reason(error)}") from error


def infer(request: Any) -> None:
    """Run a request on the tensors that are set, without the output copies of OpenVINO's Python wrapper."""
    from openvino._pyopenvino import InferRequest

    InferRequest.infer(request, *_IN_PLACE)


def short_reason(error: Exception) -> str:
    """Return OpenVINO's message without its source locations."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return " ".join(reasons or lines)[:600]


def tensor_over(array: Array) -> Any:
    """Return an ``ov.Tensor`` that is the host array itself, not a copy."""
    ov = openvino_module()
    if array.dtype.name == "bfloat16":
        return ov.Tensor(array.view(np.uint16), array.shape, ov.Type.bf16)
    plain = np.dtype(array.dtype.name)  # it knows only one of C's two 64-bit integer types
    return ov.Tensor(array.view(plain), array.shape, ov.Type(plain))


def array_of(tensor: Any, port: Port) -> Array:
    """Return a copy of a tensor's content as a host array."""
    data: Array = np.asarray(tensor.data)
    return data.view(port.dtype).copy() if port.dtype.name == "bfloat16" else data.copy()
