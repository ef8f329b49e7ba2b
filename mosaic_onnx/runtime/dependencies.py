"""Producers and consumers of each tensor of a partitioned model, and the slices that end before another starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, helper

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.errors import InternalError, ModelError

HOST_MAKER = -1
"""The maker of the model's inputs: no slice."""
_FOUR_BITS = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1, TensorProto.INT2, TensorProto.UINT2}
_NOT_FLAT = _FOUR_BITS | {TensorProto.UNDEFINED, TensorProto.STRING}


@dataclass(frozen=True)
class Tensor:
    """One tensor that passes between slices, or between them and the caller.

    Attributes:
        name: its name in every slice.
        dtype: element type of host arrays that hold it; None where it is unknown or does not lie flat in memory.
        shape: None where a dimension is known only when it runs.
        maker: index of the slice that makes it; -1 for the model's inputs.
        readers: indices of the slices that read it, ascending.
        is_output: the caller gets it.
    """

    name: str
    dtype: np.dtype[np.generic] | None
    shape: tuple[int, ...] | None
    maker: int
    readers: tuple[int, ...]
    is_output: bool

    @property
    def is_fixed(self) -> bool:
        """A buffer can be made for it before anything runs."""
        return self.dtype is not None and self.shape is not None

    @property
    def bytes(self) -> int:
        """Size in memory; 0 where it is not fixed."""
        if self.dtype is None or self.shape is None:
            return 0
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class Wiring:
    """The tensors between slices and the order that is certain.

    Attributes:
        tensors: by name.
        inputs: the model's inputs, in its order.
        outputs: the model's outputs, in its order.
        needs: [slice] indices of the slices that make what it reads.
        before: [slice] bit ``j`` is set if slice ``j`` is certainly over when this one starts.
    """

    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]

    @cached_property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The model's inputs, in its order."""
        return tuple(self.tensors[name] for name in self.inputs)


def wire(
    slices: Sequence[SliceModel],
    inputs: Sequence[str],
    outputs: Sequence[str],
    device_names: Sequence[str],
    concurrent: bool,
    exclusive: Sequence[tuple[str, str]] = (),
) -> Wiring:
    """Connect slices by tensor names.

    Args:
        slices: in the plan's order.
        inputs: the model's inputs.
        outputs: the model's outputs.
        device_names: [slice] the device that runs it.
        concurrent: devices run beside each other; else one slice at a time, in order.
        exclusive: pairs of devices that take turns, in the plan's order.

    Raises:
        ModelError: a slice reads a tensor that nothing makes before it, two slices make one, or an output is not made.
    """
    makers = _makers(slices)
    readers = _readers(slices, makers, inputs)
    if absent := [name for name in outputs if name not in makers and name not in inputs]:
        raise ModelError(f"output {absent[0]} is made by no slice")
    described = _described(slices)
    tensors = {}
    for name in dict.fromkeys((*inputs, *makers, *outputs)):
        dtype, shape = described.get(name, (None, None))
        maker = makers.get(name, HOST_MAKER)
        tensors[name] = Tensor(name, dtype, shape, maker, readers.get(name, ()), name in outputs)
    needs = tuple(tuple(sorted({makers[name] for name in one.inputs if name in makers})) for one in slices)
    if concurrent and exclusive:
        needs = _taking_turns(needs, device_names, exclusive)
    before = _before(needs, device_names, concurrent)
    return Wiring(tensors, tuple(inputs), tuple(outputs), needs, before)


def _makers(slices: Sequence[SliceModel]) -> dict[str, int]:
    makers: dict[str, int] = {}
    for index, one in enumerate(slices):
        for name in one.outputs:
            if name in makers:
                raise ModelError(f"tensor {name} is made by slices {makers[name]} and {index}")
            makers[name] = index
    return makers


def _readers(
    slices: Sequence[SliceModel], makers: Mapping[str, int], inputs: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    readers: dict[str, list[int]] = {}
    for index, one in enumerate(slices):
        for name in one.inputs:
            if makers.get(name, index if name not in inputs else HOST_MAKER) >= index:
                raise ModelError(f"slice {index} reads tensor {name}, which no slice before it makes")
            readers.setdefault(name, []).append(index)
    return {name: tuple(each) for name, each in readers.items()}


def _taking_turns(
    needs: Sequence[Sequence[int]], device_names: Sequence[str], exclusive: Sequence[tuple[str, str]]
) -> tuple[tuple[int, ...], ...]:
    """Return the needs with the last slice before each on every device that excludes its own."""
    others: dict[str, set[str]] = {}
    for one, other in exclusive:
        others.setdefault(one, set()).add(other)
        others.setdefault(other, set()).add(one)
    last: dict[str, int] = {}
    waits = []
    for index, device in enumerate(device_names):
        turns = {last[other] for other in others.get(device, ()) if other in last}
        waits.append(tuple(sorted({*needs[index], *turns})))
        last[device] = index
    return tuple(waits)


def _before(needs: Sequence[Sequence[int]], device_names: Sequence[str], concurrent: bool) -> tuple[int, ...]:
    if not concurrent:
        return tuple((1 << index) - 1 for index in range(len(needs)))
    before: list[int] = []
    last: dict[str, int] = {}
    for index, device in enumerate(device_names):
        direct = {*needs[index], *([last[device]] if device in last else [])}
        mask = 0
        for other in direct:
            mask |= before[other] | 1 << other
        before.append(mask)
        last[device] = index
    return tuple(before)


def _described(
    slices: Sequence[SliceModel],
) -> dict[str, tuple[np.dtype[np.generic] | None, tuple[int, ...] | None]]:
    """Type and shape of each tensor, from the slice that makes it, else from one that reads it."""
    found: dict[str, tuple[np.dtype[np.generic] | None, tuple[int, ...] | None]] = {}
    for one in slices:
        graph = one.model.graph
        for value in (*graph.output, *graph.input):
            dtype, shape = _type_and_shape(value)
            known = found.get(value.name, (None, None))
            if None not in (dtype, known[0]) and dtype != known[0]:
                raise InternalError(f"tensor {value.name} is {known[0]} in one slice and {dtype} in another")
            found[value.name] = (known[0] or dtype, known[1] if known[1] is not None else shape)
    return found


def _type_and_shape(value: onnx.ValueInfoProto) -> tuple[np.dtype[np.generic] | None, tuple[int, ...] | None]:
    tensor = value.type.tensor_type
    dtype = None if tensor.elem_type in _NOT_FLAT else np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return dtype, None
    dims = tensor.shape.dim
    if any(not dim.HasField("dim_value") or dim.dim_value < 0 for dim in dims):
        return dtype, None
    return dtype, tuple(dim.dim_value for dim in dims)
