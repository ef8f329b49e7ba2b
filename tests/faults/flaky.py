"""A backend whose device breaks at one place in one way, as the environment says; ``FAULT=where:how[:when]``.

It computes by ONNX Runtime's CPU provider, so that it is right and fast where nothing breaks it. A second device,
``slow``, is right always and takes 20 ms longer, so that plans prefer the first. ``when`` names the function of this
project, somewhere up the stack, in which the fault strikes; everywhere without it.
"""

from __future__ import annotations

import inspect
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, FoundDevices, Memory, Place, Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device

FLAKY = Device("flaky", backend="flaky")
SLOW = Device("slow", backend="flaky", options={"delay_ms": 20})  # other options: its measurements are its own
MOMENTS = {
    "profile": ("mosaic_onnx.profiling.measuring.child", None),
    "contest": ("mosaic_onnx.profiling.whole_plans.actions", ("open", "first_run", "time")),
    "timing": ("mosaic_onnx.profiling.whole_plans.actions", ("time", "repeat")),
    "rehearsal": ("mosaic_onnx.profiling.whole_plans.actions", ("traces",)),
    "proof": ("mosaic_onnx.isolation.actions", ("load", "run", "bind", "call", "close")),
}


def strikes(where: str, device: str) -> str:
    """Return the fault that happens now; empty where there is none."""
    place, _, rest = os.environ.get("FAULT", "").partition(":")
    how, _, when = rest.partition(":")
    if place != where or device == SLOW.name:
        return ""
    if not when:
        return how
    module, functions = MOMENTS[when]
    frames = ((frame.frame.f_globals.get("__name__"), frame.function) for frame in inspect.stack())
    hit = any(name == module and (functions is None or function in functions) for name, function in frames)
    return how if hit else ""


def fault(where: str, device: str = FLAKY.name) -> str:
    """Break, or tell the way in which the result is to be broken."""
    how = strikes(where, device)
    if how == "raise":
        raise RuntimeError("the driver says no")
    if how == "exit":
        os._exit(0)
    if how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(3600)
    if how == "memory":
        held = []
        while True:
            held.append(np.ones(1 << 23))
    return how


@dataclass
class FlakyRunner:
    """ONNX Runtime's runner, broken."""

    inner: Runner
    device: str

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        how = fault("run", self.device)
        made = self.inner.run(inputs)
        if self.device == SLOW.name:
            time.sleep(0.02)
        if how == "nan":
            return {name: np.full_like(array, np.nan) for name, array in made.items()}
        if how == "huge":
            return {name: array * 1e6 for name, array in made.items()}
        if how == "value":
            return {name: array + 1 for name, array in made.items()}
        if how == "shape":
            return {name: np.zeros((*array.shape, 2), array.dtype) for name, array in made.items()}
        return made

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        call = self.inner.bind(inputs, outputs)

        def run() -> None:
            how = fault("run", self.device)
            call()
            if self.device == SLOW.name:
                time.sleep(0.02)
            for array in outputs.values():
                if how in ("nan", "shape"):
                    array[...] = np.nan  # type: ignore[index]
                if how == "huge":
                    np.multiply(array, 1e6, out=array)  # type: ignore[call-overload]
                if how == "value":
                    np.add(array, 1, out=array)  # type: ignore[call-overload]

        return run

    def assignment(self) -> Mapping[str, str] | None:
        return None

    def close(self) -> None:
        fault("close", self.device)
        self.inner.close()


@dataclass(frozen=True)
class Flaky:
    """The backend."""

    name: str = "flaky"

    def find(self) -> FoundDevices:
        fault("find")
        return FoundDevices((FLAKY, SLOW), versions={"flaky": "1"})

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        fault("supports", device.name)
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        fault("load", device.name)
        return FlakyRunner(ORT.load(model, Device(device.name, options={"threads": 1})), device.name)

    def memory(self, device: Device) -> Memory | None:
        return None


BACKEND = Flaky()
