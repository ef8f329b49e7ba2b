"""A loaded ONNX Runtime slice: run on host arrays, or bound once to places and called without a copy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from mosaic_onnx.backends.base import Array, Place
from mosaic_onnx.backends.integers import is_cut_to_32_bits, passes_32_bits
from mosaic_onnx.backends.onnxruntime.memory import OrtBuffer, OrtMemory, element_type_of_array, host_value
from mosaic_onnx.backends.onnxruntime.session import assignment
from mosaic_onnx.backends.onnxruntime.types import element_type_of, is_native, lies_flat, packed, unpacked
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.process.cpu_cores import pinned


@dataclass(frozen=True)
class Port:
    """One input or output of a session: its name, ONNX element type (0: not a tensor), declared shape, place."""

    name: str
    element_type: int
    dims: tuple[int | str | None, ...]
    on_host: bool


def _ports(arguments: list[Any], memories: list[Any]) -> dict[str, Port]:
    return {
        each.name: Port(each.name, element_type_of(each.type), tuple(each.shape), _on_host(memory))
        for each, memory in zip(arguments, memories, strict=True)
    }


def _on_host(memory: Any) -> bool:
    """Return whether the provider has this tensor in host memory, even if it has its own memory."""
    from onnxruntime.capi.onnxruntime_pybind11_state import OrtDeviceMemoryType, OrtMemType

    is_default = memory.mem_type == OrtMemType.DEFAULT and memory.device_mem_type == OrtDeviceMemoryType.DEFAULT
    return memory.name == "Cpu" or not is_default


class OrtRunner:
    """A loaded slice."""

    def __init__(
        self,
        session: Any,
        label: str,
        caller_cores: frozenset[int] | None = None,
        memory: OrtMemory | None = None,
        turn: AbstractContextManager[object] | None = None,
        narrows_integers: bool = False,
    ) -> None:
        """Take over a session.

        Args:
            session: the ``ort.InferenceSession``.
            label: its name in messages: slice and device.
            caller_cores: cores to which the calling thread is pinned during a run.
            memory: the device's own memory; None where it uses host memory.
            turn: held while the provider works; None where threads may use it at once.
            narrows_integers: the provider holds 64-bit integers in 32 bits.
        """
        self._session = session
        self._label = label
        self._cores = caller_cores
        self._memory = memory
        self._turn = turn
        self._narrows_integers = narrows_integers
        self._inputs = _ports(session.get_inputs(), session.get_input_memory_infos())
        self._outputs = _ports(session.get_outputs(), session.get_output_memory_infos())
        self._is_native = all(
            port.element_type == 0 or is_native(port.element_type)
            for port in (*self._inputs.values(), *self._outputs.values())
        )
        self._output_names = list(self._outputs)
        self._is_plain = self._is_native and not (caller_cores or turn or narrows_integers)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays of any legal shape; complete when it returns.

        Raises:
            BackendError: the provider failed, or an input is missing or does not fit.
        """
        session = self._open_session()
        try:
            fed = {name: inputs[name] for name in self._inputs}
        except KeyError as error:
            raise BackendError(f"{self._label}: input {error} is missing") from error
        if self._is_plain:
            try:
                return dict(zip(self._outputs, session._sess.run(self._output_names, fed, None), strict=True))
            except Exception:
                with self._named_failure():
                    raise
        self._check_integers(fed)
        with self._named_failure(), pinned(self._cores), self._turn or nullcontext():
            if self._is_native:
                return dict(zip(self._outputs, session._sess.run(self._output_names, fed, None), strict=True))
            return self._run_through_values(session, fed)

    def _run_through_values(self, session: Any, fed: Mapping[str, Array]) -> dict[str, Array]:
        """Run with types that numpy lacks: tensors are passed as bytes."""
        binding = session.io_binding()
        held = {}  # the binding holds pointers only
        for name, array in fed.items():
            element_type = self._inputs[name].element_type
            if not element_type or (not lies_flat(element_type) and is_native(element_type)):
                raise BackendError(f"{self._label}: input {name!r} (no flat tensor) beside types that numpy lacks")
            self._check_type(self._inputs[name], array.dtype)
            held[name] = data = packed(array, element_type)
            binding._iobinding.bind_input(name, _cpu(), element_type, array.shape, data.ctypes.data)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        session.run_with_iobinding(binding)
        values = zip(self._outputs.values(), binding.get_outputs(), strict=True)
        return {port.name: _to_array(value, port.element_type) for port, value in values}

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Bind inputs and outputs to places and return the call that runs in place.

        Raises:
            BackendError: a shape or type cannot be bound.
        """
        session = self._open_session()
        if set(inputs) != set(self._inputs) or not set(outputs) <= set(self._outputs):
            wanted = sorted(set(self._inputs) ^ set(inputs) | (set(outputs) - set(self._outputs)))
            raise BackendError(f"{self._label}: bind was given other tensors than the slice has: {', '.join(wanted)}")
        for ports, places in ((self._inputs, inputs), (self._outputs, outputs)):
            for name, place in places.items():
                self._check_place(ports[name], place)
        with self._named_failure():
            if self._memory is None:
                return self._bind_in_host_memory(session, inputs, outputs)
            return self._bind_in_device_memory(session, inputs, outputs, self._memory)

    def _bind_in_host_memory(
        self, session: Any, inputs: Mapping[str, Place], outputs: Mapping[str, Place]
    ) -> Callable[[], None]:
        binding = session.io_binding()._iobinding
        held = list(inputs.values()) + list(outputs.values())
        for name, place in inputs.items():
            binding.bind_input(name, *_pointer(self._array(name, place)))
        for name, place in outputs.items():
            binding.bind_output(name, *_pointer(self._array(name, place)))
        copied = [
            (name, host_value(self._array(name, place))) for name, place in inputs.items() if self._is_copied(name)
        ]
        narrowed = {name: array for name, array in inputs.items() if self._narrows_integers and _is_narrowed(array)}

        def before() -> None:
            self._check_integers(narrowed)
            for name, value in copied:
                binding.bind_ortvalue_input(name, value._get_c_value())

        return self._call(session, binding, held, before if copied or narrowed else None)

    def _is_copied(self, name: str) -> bool:
        """Return whether the provider reads this input from its own memory, so that binding copies it at once."""
        return not self._inputs[name].on_host

    def _bind_in_device_memory(
        self, session: Any, inputs: Mapping[str, Place], outputs: Mapping[str, Place], memory: OrtMemory
    ) -> Callable[[], None]:
        """Bind a session whose provider uses its own memory.

        ``bind_input`` would copy other memory at bind time, and later writes would have no effect: host arrays go
        through a buffer that the call fills, and inputs that the provider reads on the host are bound in each call.
        """
        binding = session.io_binding()._iobinding
        uploads: list[tuple[OrtBuffer, Array]] = []
        downloads: list[tuple[OrtBuffer, Array]] = []
        rebound: list[tuple[str, Any]] = []
        for name, place in inputs.items():
            if self._inputs[name].on_host:
                rebound.append((name, _value(place)))
            else:
                binding.bind_ortvalue_input(name, self._buffer(name, place, memory, uploads).value._get_c_value())
        for name, place in outputs.items():
            value = _value(place) if self._outputs[name].on_host else self._buffer(name, place, memory, downloads).value
            binding.bind_ortvalue_output(name, value._get_c_value())

        def before() -> None:
            for buffer, array in uploads:
                buffer.upload(array)
            for name, value in rebound:
                binding.bind_ortvalue_input(name, value._get_c_value())

        def after() -> None:
            for buffer, array in downloads:
                buffer.download(array)

        return self._call(session, binding, [inputs, outputs, uploads, downloads], before, after)

    def _buffer(self, name: str, place: Place, memory: OrtMemory, copies: list[tuple[OrtBuffer, Array]]) -> OrtBuffer:
        """Return the place if it is a buffer of this device, else a new buffer, which the call copies."""
        if isinstance(place, OrtBuffer) and place.device == memory.device:
            return place
        array = self._array(name, place)
        copies.append((memory.allocate(array.dtype, array.shape), array))
        return copies[-1][0]

    def _call(
        self,
        session: Any,
        binding: Any,
        held: object,
        before: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> Callable[[], None]:
        """Return the call that runs in place; it keeps ``held`` alive, since the binding holds pointers only."""
        raw, cores, turn, named_failure = session._sess, self._cores, self._turn, self._named_failure

        def call(_held: object = held) -> None:
            try:
                raw.run_with_iobinding(binding, None)
            except Exception:
                with named_failure():
                    raise

        def call_with_care(_held: object = held) -> None:
            with named_failure(), pinned(cores), turn or nullcontext():
                if before:
                    before()
                raw.run_with_iobinding(binding, None)
                if after:
                    after()

        return call_with_care if cores or turn or before or after else call

    def _check_integers(self, arrays: Mapping[str, Array]) -> None:
        """Raise ``BackendError`` for integers that the provider would wrap silently."""
        if not self._narrows_integers:
            return
        for name, array in arrays.items():
            if _is_narrowed(array) and passes_32_bits(array):
                raise BackendError(
                    f"{self._label}: input {name!r} holds integers beyond 32 bits, which the provider would wrap",
                    "pin the layers that read it to another device",
                )

    def _check_place(self, port: Port, place: Place) -> None:
        """Raise ``BackendError`` for a place that the session would misread, since it gets pointers only."""
        if not lies_flat(port.element_type):
            raise BackendError(f"{self._label}: tensor {port.name!r} cannot be bound in place (its type lies not flat)")
        if isinstance(place, OrtBuffer):
            dtype, shape = place.dtype, place.shape
        else:
            array = self._array(port.name, place)
            dtype, shape = array.dtype, array.shape
            if not array.flags.c_contiguous:
                raise BackendError(f"{self._label}: tensor {port.name!r} is bound to an array that is not contiguous")
        self._check_type(port, dtype)
        fits = len(shape) == len(port.dims) and all(
            not isinstance(wanted, int) or wanted == given for wanted, given in zip(port.dims, shape, strict=True)
        )
        if not fits:
            raise BackendError(f"{self._label}: tensor {port.name!r} has shape {list(port.dims)}, not {list(shape)}")

    def _check_type(self, port: Port, dtype: np.dtype[np.generic]) -> None:
        if element_type_of_array(dtype) != port.element_type:
            raise BackendError(f"{self._label}: tensor {port.name!r} is not of type {dtype}")

    def _array(self, name: str, place: Place) -> Array:
        if not isinstance(place, np.ndarray):
            raise BackendError(f"{self._label}: tensor {name!r} is bound to a buffer of another device")
        return place

    def assignment(self) -> Mapping[str, str] | None:
        """Return the provider that runs each node, by the name that the node has after optimisation."""
        return assignment(self._open_session())

    def close(self) -> None:
        """Release memory and threads; calling it twice is harmless."""
        self._session = None

    def _open_session(self) -> Any:
        if self._session is None:
            raise BackendError(f"{self._label}: it was closed")
        return self._session

    @contextmanager
    def _named_failure(self) -> Iterator[None]:
        """Turn exceptions of ONNX Runtime into a BackendError that names slice and device."""
        try:
            yield
        except BackendError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise BackendError(f"{self._label}: {error}") from error


def _is_narrowed(place: Place) -> TypeGuard[Array]:
    return isinstance(place, np.ndarray) and is_cut_to_32_bits(place.dtype)


def _cpu() -> Any:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return state.OrtDevice(state.OrtDevice.cpu(), state.OrtDevice.default_memory(), 0)


def _pointer(array: Array) -> tuple[Any, int, tuple[int, ...], int]:
    return _cpu(), element_type_of_array(array.dtype), array.shape, array.ctypes.data


def _value(place: Place) -> Any:
    return place.value if isinstance(place, OrtBuffer) else host_value(place)  # type: ignore[arg-type]


def _to_array(value: Any, element_type: int) -> Array:
    """Copy an ``OrtValue`` in host memory into a host array."""
    if is_native(element_type):
        array: Array = value.numpy()
        return array
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return unpacked(data, element_type, tuple(value.shape()))
