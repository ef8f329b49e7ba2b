"""Backends that a measuring child can import: one that works, and some that break in each way a provider may."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, FoundDevices, KernelTime, Memory, Place, Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError


@dataclass
class RecordedBuffer:
    array: Array

    def upload(self, array: Array) -> None:
        np.copyto(self.array, array)

    def download(self, array: Array) -> None:
        np.copyto(array, self.array)


class RecordedMemory:
    def allocate(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> RecordedBuffer:
        return RecordedBuffer(np.zeros(shape, dtype))


@dataclass
class NegRunner:
    """Computes y = -x (or something else) whatever the model says."""

    compute: Callable[[Array], Array]
    outputs: tuple[str, ...]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        [x] = inputs.values()
        return {name: self.compute(x) for name in self.outputs}

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        raise BackendError("nothing can be bound here")

    def assignment(self) -> Mapping[str, str] | None:
        return None

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Fake:
    """A backend that computes y = -x, unless what it is made with breaks it at load or when it runs."""

    name: str
    on_load: Callable[[], None] = lambda: None
    compute: Callable[[Array], Array] = np.negative
    own_memory: bool = False

    def find(self) -> FoundDevices:
        return FoundDevices((Device(self.name, backend=self.name),), versions={self.name: "1"})

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        self.on_load()
        return NegRunner(self.compute, model.outputs)

    def memory(self, device: Device) -> Memory | None:
        return RecordedMemory() if self.own_memory else None

    def kernel_times(
        self, model: SliceModel, device: Device, inputs: Mapping[str, Array], budget_s: float
    ) -> tuple[KernelTime, ...]:
        return (KernelTime(model.outputs[0], 0.25),)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    time.sleep(600)


def refuse() -> None:
    raise BackendError("no such operator")


def babble() -> None:
    os.write(1, b"a library prints to standard output\n")
    sys.stdout.write("so does Python\n")
    sys.stdout.flush()


WORKING = Fake("working")
CRASHING = Fake("crashing", on_load=crash)
HANGING = Fake("hanging", on_load=hang)
REFUSING = Fake("refusing", on_load=refuse)
BABBLING = Fake("babbling", on_load=babble)
WRONG = Fake("wrong", compute=np.abs)
OWN_MEMORY = Fake("own-memory", own_memory=True)
