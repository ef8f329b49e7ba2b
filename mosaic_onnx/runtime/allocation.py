"""Allocate every tensor of known size: one shared block of host memory, and buffers of devices with their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array, Buffer, Memory, Place
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.runtime.buffers import ALIGNMENT_BYTES, FOREVER, Layout, Need, aligned, is_dead_before, lay_out
from mosaic_onnx.runtime.dependencies import HOST_MAKER, Tensor, Wiring


@dataclass(frozen=True)
class Site:
    """A slice's device as the allocation sees it.

    Attributes:
        device: the device's name.
        memory: its own memory; None where it works in the host's.
        is_bound: the slice runs in place; else tensors are handed over to it as arrays of the moment.
    """

    device: str
    memory: Memory | None
    is_bound: bool


@dataclass(frozen=True)
class Places:
    """The buffers of tensors.

    Attributes:
        host: host arrays by tensor; a tensor that is absent is handed over.
        device: buffers by (device, tensor).
        layout: how the host arrays share their block; the model's inputs have arrays of their own.
    """

    host: Mapping[str, Array]
    device: Mapping[tuple[str, str], Buffer]
    layout: Layout

    def of(self, device: str, tensor: str) -> Place:
        """Return the buffer in which a slice of this device reads or writes a tensor in place."""
        buffer = self.device.get((device, tensor))
        return self.host[tensor] if buffer is None else buffer


def allocate(wiring: Wiring, sites: Sequence[Site]) -> Places:
    """Make all arrays and buffers.

    Args:
        wiring: the tensors.
        sites: [slice] where it runs and whether in place.
    """
    fixed = [tensor for tensor in wiring.tensors.values() if tensor.is_fixed and _touched_in_place(tensor, sites)]
    buffers = _device_buffers(fixed, wiring, sites)
    on_host = [tensor for tensor in fixed if _needs_host(tensor, sites, buffers)]
    layout = lay_out([_need(tensor) for tensor in on_host if tensor.maker != HOST_MAKER], wiring.before)
    block = _aligned_block(layout.bytes)
    host = {}
    for tensor in on_host:
        offset = layout.offsets.get(tensor.name)
        memory = _aligned_block(tensor.bytes) if offset is None else block[offset:]
        host[tensor.name] = _array_in(memory, tensor)
    return Places(host, buffers, layout)


def _touching(tensor: Tensor) -> tuple[int, ...]:
    return tensor.readers if tensor.maker == HOST_MAKER else (tensor.maker, *tensor.readers)


def _touched_in_place(tensor: Tensor, sites: Sequence[Site]) -> bool:
    return any(sites[index].is_bound for index in _touching(tensor))


def _need(tensor: Tensor) -> Need:
    users = 0
    for index in _touching(tensor):
        users |= 1 << index
    return Need(tensor.name, tensor.bytes, tensor.maker, FOREVER if tensor.is_output else users)


def _needs_host(tensor: Tensor, sites: Sequence[Site], buffers: Mapping[tuple[str, str], Buffer]) -> bool:
    """It comes from or goes to the caller, someone touches it in host memory, or it crosses between two memories."""
    if tensor.is_output or tensor.maker == HOST_MAKER:
        return True
    touching = [sites[index] for index in _touching(tensor)]
    if any(not site.is_bound or (site.device, tensor.name) not in buffers for site in touching):
        return True
    return len({site.device for site in touching}) > 1


@dataclass
class _Pool:
    """Buffers of one device, type and shape, with the slices that use each."""

    entries: list[tuple[Buffer, int]] = field(default_factory=list)

    def take(self, maker: int, users: int, before: Sequence[int]) -> Buffer | None:
        for place, (buffer, earlier) in enumerate(self.entries):
            if is_dead_before(earlier, maker, before):
                self.entries[place] = (buffer, earlier | users)
                return buffer
        return None


def _device_buffers(tensors: Sequence[Tensor], wiring: Wiring, sites: Sequence[Site]) -> dict[tuple[str, str], Buffer]:
    pools: dict[tuple[str, str, tuple[int, ...]], _Pool] = {}
    buffers: dict[tuple[str, str], Buffer] = {}
    for tensor in sorted(tensors, key=lambda each: min(_touching(each))):
        touching = [sites[index] for index in _touching(tensor)]
        devices = dict.fromkeys(site.device for site in touching if site.is_bound and site.memory is not None)
        for device in devices:
            users = [index for index in _touching(tensor) if sites[index].device == device and sites[index].is_bound]
            pool = pools.setdefault((device, str(tensor.dtype), tensor.shape or ()), _Pool())
            buffer = _buffer(tensor, users, sites[users[0]].memory, pool, wiring.before)
            if buffer is not None:
                buffers[device, tensor.name] = buffer
    return buffers


def _buffer(
    tensor: Tensor, users: Sequence[int], memory: Memory | None, pool: _Pool, before: Sequence[int]
) -> Buffer | None:
    """A buffer that is free by then, else a new one; None where the device cannot hold this type."""
    mask = sum(1 << index for index in users)
    if (free := pool.take(min(users), mask, before)) is not None:
        return free
    if memory is None or tensor.dtype is None or tensor.shape is None:
        return None
    try:
        made = memory.allocate(tensor.dtype, tensor.shape)
    except BackendError:
        return None
    pool.entries.append((made, mask))
    return made


def _aligned_block(size: int) -> Array:
    raw = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = aligned(raw.ctypes.data) - raw.ctypes.data
    return raw[start : start + size]


def _array_in(block: Array, tensor: Tensor) -> Array:
    if tensor.dtype is None or tensor.shape is None or tensor.bytes == 0:
        return np.empty(tensor.shape or (), tensor.dtype)
    return block[: tensor.bytes].view(tensor.dtype).reshape(tensor.shape)
