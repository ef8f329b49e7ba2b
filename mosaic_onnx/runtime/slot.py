"""Room for one request: buffers for its tensors, and calls that are bound to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import DeviceError, ModelError
from mosaic_onnx.runtime.dependencies import Tensor, Wiring
from mosaic_onnx.runtime.steps import Loaded, Program, build, placed_error


class Slot:
    """Buffers and bound calls for one request at a time."""

    def __init__(self, loaded: Sequence[Loaded], wiring: Wiring) -> None:
        """Allocate and bind.

        Args:
            loaded: [slice] what runs it.
            wiring: the tensors between them.
        """
        self.program: Program = build(loaded, wiring)
        self._wiring = wiring
        self._calls = tuple(step.call for steps in self.program.steps for step in steps)
        self.only = OnlySlice(loaded[0], wiring) if _is_whole(loaded, wiring, self.program) else None
        """The slice that is the whole model and needs none of the buffers; None where it is not so."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one step after the other on the calling thread; the inputs are checked already."""
        if self.only is not None:
            return self.only.run(inputs)
        self.take(inputs)
        for call in self._calls:
            call()
        return self.give()

    def take(self, inputs: Mapping[str, Array]) -> None:
        """Copy inputs in, or keep them where they are handed over; they are checked already."""
        host, values = self.program.places.host, self.program.values
        values.clear()
        for name in self._wiring.inputs:
            array = inputs[name]
            place = host.get(name)
            if place is None:
                values[name] = array
            elif array is not place:
                np.copyto(place, array)

    def give(self) -> dict[str, Array]:
        """The outputs, in arrays that belong to the caller."""
        host, values = self.program.places.host, self.program.values
        outputs = {}
        for name in self._wiring.outputs:
            if name in host:
                outputs[name] = host[name].copy()
            elif name in self._wiring.inputs:
                outputs[name] = np.array(values[name])
            else:
                outputs[name] = values[name]
        values.clear()
        return outputs

    def place(self, name: str) -> Array | None:
        """The input's buffer in host memory; None where the input is passed on."""
        return self.program.places.host.get(name) if name in self._wiring.inputs else None


class OnlySlice:
    """A slice that takes just the model's inputs and gives just its outputs: it runs on the caller's own arrays."""

    def __init__(self, loaded: Loaded, wiring: Wiring) -> None:
        """Take the slice over.

        Args:
            loaded: what runs it.
            wiring: its tensors; the slice may have them in another order.
        """
        self._run, self._device = loaded.runner.run, loaded.device
        self._outputs = None if loaded.model.outputs == wiring.outputs else wiring.outputs
        declared = ((name, wiring.tensors[name].shape) for name in wiring.outputs)
        self._shapes = [(name, shape) for name, shape in declared if shape is not None]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on the calling thread; the inputs are checked already.

        Raises:
            DeviceError: it failed, or made something else than the model says.
        """
        try:
            made = self._run(inputs)
        except Exception as failure:
            raise placed_error(failure, "slice 0", self._device) from failure
        for name, shape in self._shapes:
            array = made.get(name)
            if array is None or array.shape != shape:
                found = "not at all" if array is None else f"of shape {list(array.shape)}"
                words = f"slice 0 on {self._device}: it made tensor {name} {found}; the model says {list(shape)}"
                raise DeviceError(words, device=self._device)
        return made if self._outputs is None else {name: made[name] for name in self._outputs}


def _is_whole(loaded: Sequence[Loaded], wiring: Wiring, program: Program) -> bool:
    """True where one runner takes just the model's inputs and gives just its outputs, in host memory."""
    if len(loaded) != 1 or 0 not in program.reasons:
        return False
    only = loaded[0].model
    return set(only.inputs) == set(wiring.inputs) and set(only.outputs) == set(wiring.outputs)


def checked_inputs(inputs: Mapping[str, Array], wiring: Wiring) -> Mapping[str, Array]:
    """The inputs, all of them arrays.

    Raises:
        ModelError: one is missing, unknown, or not of the type and shape that the model was compiled for.
    """
    if len(inputs) != len(wiring.inputs):
        _complain_of_names(inputs, wiring)
    for wanted in wiring.input_tensors:
        array = inputs.get(wanted.name)
        if not isinstance(array, np.ndarray):
            if array is None:
                _complain_of_names(inputs, wiring)
            return checked_inputs({each: np.asarray(value) for each, value in inputs.items()}, wiring)
        if array.shape != wanted.shape or (array.dtype is not wanted.dtype and array.dtype != wanted.dtype):
            _complain_of_form(array, wanted)
    return inputs


def _complain_of_form(array: Array, wanted: Tensor) -> None:
    if wanted.is_fixed:
        raise ModelError(
            f"input {wanted.name} is {array.dtype} {list(array.shape)}; "
            f"the model was compiled for {wanted.dtype} {list(wanted.shape or ())}"
        )


def _complain_of_names(inputs: Mapping[str, Array], wiring: Wiring) -> None:
    missing = [name for name in wiring.inputs if name not in inputs]
    unknown = [name for name in inputs if name not in wiring.inputs]
    if missing or unknown:
        faults = [f"{name} is missing" for name in missing] + [f"{name} is not an input" for name in unknown]
        raise ModelError("; ".join(faults), f"the model takes {', '.join(wiring.inputs) or 'no inputs'}")
