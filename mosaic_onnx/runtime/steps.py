"""From loaded runners to the calls of one run: bound executions, hand-overs, and transfers between memories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mosaic_onnx.backends.base import Array, Memory, Runner, SliceModel
from mosaic_onnx.core.errors import BackendError, DeviceError, MosaicError, failure_line
from mosaic_onnx.runtime.allocation import Places, Site, allocate
from mosaic_onnx.runtime.dependencies import Wiring

Call = Callable[[], None]


@dataclass(frozen=True)
class Step:
    """One call of a run.

    Attributes:
        call: what to do.
        kind: execution of a slice, or transfer of a tensor.
        name: of the slice or tensor.
        bytes: moved by a transfer.
    """

    call: Call
    kind: Literal["slice", "transfer"]
    name: str
    bytes: int = 0


@dataclass(frozen=True)
class Program:
    """All that a run does, slice by slice.

    Attributes:
        steps: [slice] what its device does for it, in order.
        places: where tensors lie.
        values: tensors that are handed over, while a run needs them.
        reasons: by slice that is not run in place, why.
    """

    steps: tuple[tuple[Step, ...], ...]
    places: Places
    values: dict[str, Array]
    reasons: Mapping[int, str]


@dataclass(frozen=True)
class Loaded:
    """A slice and what runs it.

    Attributes:
        model: the slice.
        runner: it, loaded.
        device: the device's name.
        memory: the device's own memory; None where it works in the host's.
    """

    model: SliceModel
    runner: Runner
    device: str
    memory: Memory | None


def build(loaded: Sequence[Loaded], wiring: Wiring) -> Program:
    """Allocate and bind; a slice that cannot be bound is handed its tensors instead, and the rest is laid out anew."""
    if len(loaded) == 1 and loaded[0].memory is None:
        reasons = {0: "it is the only slice: it reads the caller's own arrays"}
        return _program(loaded, wiring, allocate(wiring, [Site(loaded[0].device, None, False)]), [None], reasons)
    reasons = {
        index: f"tensor {free} has no fixed size or does not lie flat in memory"
        for index, each in enumerate(loaded)
        if (free := next((n for n in _touched(each.model) if not wiring.tensors[n].is_fixed), None)) is not None
    }
    while True:
        sites = [Site(each.device, each.memory, index not in reasons) for index, each in enumerate(loaded)]
        places = allocate(wiring, sites)
        calls, refused = _bind_all(loaded, sites, places)
        if not refused:
            return _program(loaded, wiring, places, calls, reasons)
        reasons.update(refused)


def _touched(model: SliceModel) -> tuple[str, ...]:
    return (*model.inputs, *model.outputs)


def _bind_all(
    loaded: Sequence[Loaded], sites: Sequence[Site], places: Places
) -> tuple[list[Call | None], dict[int, str]]:
    """[slice] the bound call, None where it is handed over; and the slices that refuse to be bound, with the reason."""
    calls: list[Call | None] = []
    refused: dict[int, str] = {}
    for index, each in enumerate(loaded):
        call = None
        if sites[index].is_bound:
            inputs = {name: places.of(each.device, name) for name in each.model.inputs}
            outputs = {name: places.of(each.device, name) for name in each.model.outputs}
            try:
                call = each.runner.bind(inputs, outputs)
            except BackendError as error:
                refused[index] = error.message
        calls.append(call)
    return calls, refused


def _program(
    loaded: Sequence[Loaded],
    wiring: Wiring,
    places: Places,
    calls: Sequence[Call | None],
    reasons: Mapping[int, str],
) -> Program:
    values: dict[str, Array] = {}
    resident: set[tuple[str, str]] = set()
    dying = _dying(wiring, places)
    steps: list[tuple[Step, ...]] = []
    for index, (each, call) in enumerate(zip(loaded, calls, strict=True)):
        name = f"slice {index}"
        if call is None:
            run = _hand_over(each, places.host, values, dying.get(index, ()))
            steps.append((Step(_named(run, name, each.device), "slice", name),))
            continue
        uploads = [
            Step(_upload(each.device, tensor, places), "transfer", tensor, wiring.tensors[tensor].bytes)
            for tensor in each.model.inputs
            if (each.device, tensor) in places.device and (each.device, tensor) not in resident
        ]
        downloads = [
            Step(_download(each.device, tensor, places), "transfer", tensor, wiring.tensors[tensor].bytes)
            for tensor in each.model.outputs
            if (each.device, tensor) in places.device and tensor in places.host
        ]
        resident |= {(each.device, tensor) for tensor in _touched(each.model)}
        steps.append((*uploads, Step(_named(call, name, each.device), "slice", name), *downloads))
    return Program(tuple(steps), places, values, dict(reasons))


def _named(call: Call, name: str, device: str) -> Call:
    """The call, whose every failure names slice and device."""

    def named() -> None:
        try:
            call()
        except Exception as failure:
            raise placed_error(failure, name, device) from failure

    return named


def placed_error(failure: Exception, name: str, device: str) -> MosaicError:
    """Return an error that names slice and device, whatever a device raised: a foreign backend may raise anything."""
    if isinstance(failure, DeviceError) or (isinstance(failure, MosaicError) and not isinstance(failure, BackendError)):
        return failure
    if isinstance(failure, BackendError):
        return DeviceError(_with_place(failure.message, name, device), failure.hint, device=device)
    return DeviceError(f"{name} on {device}: {failure_line(failure)}", device=device)


def _with_place(message: str, name: str, device: str) -> str:
    return message if device in message else f"{name} on {device}: {message}"


def _upload(device: str, tensor: str, places: Places) -> Call:
    upload, array = places.device[device, tensor].upload, places.host[tensor]
    return lambda: upload(array)


def _download(device: str, tensor: str, places: Places) -> Call:
    download, array = places.device[device, tensor].download, places.host[tensor]
    return lambda: download(array)


def _dying(wiring: Wiring, places: Places) -> dict[int, list[str]]:
    """By slice, the handed-over tensors that it certainly reads last."""
    dying: dict[int, list[str]] = {}
    for tensor in wiring.tensors.values():
        if tensor.name in places.host or tensor.is_output:
            continue
        for index in tensor.readers:
            if all(reader == index or wiring.before[index] >> reader & 1 for reader in tensor.readers):
                dying.setdefault(index, []).append(tensor.name)
    return dying


def _hand_over(each: Loaded, host: Mapping[str, Array], values: dict[str, Array], dying: Sequence[str]) -> Call:
    run, device = each.runner.run, each.device
    placed = {name: host[name] for name in each.model.inputs if name in host}
    free = [name for name in each.model.inputs if name not in host]
    kept = [name for name in each.model.outputs if name not in host]
    filled = [(name, host[name]) for name in each.model.outputs if name in host]

    def call() -> None:
        results = run({**placed, **{name: values[name] for name in free}})
        for name in kept:
            values[name] = results[name]
        for name, place in filled:
            if results[name].shape != place.shape:
                raise BackendError(
                    f"device {device} made tensor {name} of shape {list(results[name].shape)}; "
                    f"the model says {list(place.shape)}"
                )
            np.copyto(place, results[name])
        for name in dying:
            del values[name]

    return call
