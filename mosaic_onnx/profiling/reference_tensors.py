"""The reference's tensors for a model's inputs, computed at first use: with a filled cache none are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import BackendError, InputsRefusedError, ModelError
from mosaic_onnx.core.layers import TensorInfo
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.verification.reference import Reference


@dataclass
class ReferenceTensors:
    """Tensors of the original model.

    Layers are measured with them rather than with random ones, so that indices and masks are valid and a device's
    results can be compared with them. Where no runtime can run the whole model (an operator that only one device
    knows), tensors are made up by type and shape, and ``is_right`` is false.

    Attributes:
        model: the normalised model.
        folder: where its external data lies.
        known: static facts of its tensors, by name.
        inputs: given inputs; None makes seeded ones.
        seed: of made-up inputs.
        notes: remarks for the user.
        is_right: the model computes the tensors.
        refusal: why it does not, where that is its inputs' fault.
    """

    model: onnx.ModelProto
    folder: str
    known: Mapping[str, TensorInfo]
    inputs: Mapping[str, Array] | None
    seed: int
    notes: list[str] = field(default_factory=list)
    is_right: bool = True
    refusal: InputsRefusedError | None = None
    _why_not: str = ""
    _fed: dict[str, Array] | None = None
    _reference: Reference | None = None

    @property
    def identity(self) -> object:
        """Return a JSON value that differs where the inputs differ."""
        if self.inputs is None:
            return ["seed", self.seed, [[value.name, _dims(value)] for value in self.model.graph.input]]
        return [[name, str(array.dtype), array.shape, _hash(array)] for name, array in sorted(self.inputs.items())]

    def __call__(self, names: Collection[str]) -> Mapping[str, Array]:
        """Return the tensors named, all from one run."""
        if self.is_right:
            try:
                return self._computed(names)
            except (BackendError, ModelError) as error:
                self.is_right, self._why_not = False, error.message
                self.refusal = error if isinstance(error, InputsRefusedError) else None
                self.notes.append(f"measured on made-up tensors, results not compared: {error.message}")
        return {name: self._made_up(name) for name in names}

    def _computed(self, names: Collection[str]) -> Mapping[str, Array]:
        if self._fed is None:
            self._fed = dict(self.inputs) if self.inputs is not None else make_inputs(self.model, self.seed)
        if self._reference is None:
            self._reference = Reference(self.model, self.folder)
        try:
            # The model's own outputs are included: some kernels of ONNX Runtime fail if an output is unused.
            found = self._reference.run(self._fed, list(dict.fromkeys([*names, *self._reference.outputs])))
        finally:
            self._reference.close()
        return {name: found[name] for name in names}

    def _made_up(self, name: str) -> Array:
        """Return a tensor of the right type and shape: small numbers, and zeros for integers (legal as indices)."""
        info = self.known.get(name)
        if info is None or info.shape is None or not info.element_type:
            raise ModelError(f"the shape of tensor {name!r} is unknown, since no run can show it: {self._why_not}")
        dtype = helper.tensor_dtype_to_np_dtype(info.element_type)
        if dtype.kind == "O":
            return np.full(info.shape, "", dtype=object)
        if dtype.kind in "iub":
            return np.zeros(info.shape, dtype)
        return np.random.default_rng(self.seed).standard_normal(info.shape).astype(dtype)


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _hash(array: Array) -> str:
    content = repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
    return hashlib.sha256(content).hexdigest()
