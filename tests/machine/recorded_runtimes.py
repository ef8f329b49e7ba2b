"""The runtimes of a recorded machine: they answer as its vendors' runtimes do, and run slices by a simulated clock.

Devices, options, levels and meters come from the real code on the recorded files (``MOSAIC_SYSTEM_ROOT``). A slice
computes its outputs with this machine's ONNX Runtime, rounded where the device computes in 16 bits. The time that it
takes, and the joules that it adds to the recorded RAPL counter, are simulated: cycles over the frequency that the
recorded files hold, or that their governor would pick.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, FoundDevices, LevelControl, LevelOffer, Memory, Place, Runner, SliceModel
from mosaic_onnx.backends.hardware.frequencies import SysfsDomain, cpu_policies, gpu_domains
from mosaic_onnx.backends.hardware.system import ROOT_VARIABLE, SystemFiles, read_text
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.backends.openvino.backend import BACKEND as OPENVINO
from mosaic_onnx.backends.sharing import CoreUse
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery import registry
from tests.machine.recorded_machines import MACHINES, Machine
from tests.machine.simulated_time import TIME, simulate_time

NAME_VARIABLE = "MOSAIC_TEST_MACHINE"
SAMPLING_S = 0.010
"""So often the recorded ``ondemand`` governor looks at the load."""
HZ = 1e9
"""Of a device without a frequency domain."""
RAN: list[tuple[str, float]] = []
"""Devices and frequencies of the work, in order; tests clear and read it."""


@dataclass(frozen=True)
class Hardware:
    """The simulated hardware behind a recorded device.

    Attributes:
        cycles: of one node, by operator type; an operator that is absent is refused.
        static_w: while it works, at any frequency.
        dynamic_w: while it works at its highest frequency; it falls with the cube of the frequency.
    """

    cycles: Mapping[str, float]
    static_w: float = 0.0
    dynamic_w: float = 0.0


def _milliseconds(**each: float) -> Hardware:
    return Hardware({name: 1e-3 * value * HZ for name, value in each.items()})


HARDWARE: Mapping[str, Mapping[str, Hardware]] = {
    "laptop": {
        "cpu": _milliseconds(Conv=60, Softmax=12, Sin=45, Tanh=20),
        "cpu-p": _milliseconds(Conv=60, Softmax=4, Sin=45, Tanh=20),
        "cpu-e": _milliseconds(Conv=90, Softmax=20, Sin=70, Tanh=30),
        "openvino": _milliseconds(Conv=50, Softmax=14, Sin=40, Tanh=20),
        "openvino-gpu": _milliseconds(Conv=25, Sin=5, Tanh=8),
        "openvino-gpu-f16": _milliseconds(Conv=20, Sin=6, Tanh=8),
        "openvino-npu": _milliseconds(Conv=4),
    },
    "phone": {
        "cpu": Hardware({"Conv": 60e6, "Softmax": 20e6, "Sin": 60e6, "Tanh": 60e6}, 0.8, 4.0),
        "cpu-big": Hardware({"Conv": 60e6, "Softmax": 8e6, "Sin": 60e6, "Tanh": 60e6}, 0.4, 3.6),
        "cpu-little": Hardware({"Conv": 90e6, "Softmax": 24e6, "Sin": 90e6, "Tanh": 8e6}, 0.05, 0.5),
        "webgpu": Hardware({"Conv": 4e6, "Sin": 40e6}, 0.1, 1.5),
        "xnnpack": Hardware({"Conv": 50e6}, 0.8, 4.0),
    },
}


def machine() -> Machine:
    """Return the recorded machine that the environment names."""
    root = Path(os.environ[ROOT_VARIABLE])
    return MACHINES[os.environ[NAME_VARIABLE]](root, is_written=True)


def hardware_of(device: Device) -> Hardware:
    return HARDWARE[os.environ[NAME_VARIABLE]][device.name]


def domain_of(device: Device) -> SysfsDomain | None:
    """Return the domain whose clock a device runs on: its GPU's, or that of its fastest cores."""
    files = SystemFiles()
    if device.name == "webgpu":
        return gpu_domains(files)[0]
    cores = [int(word) for word in str(device.options.get("cores", "")).split("-") if word]
    policies = [one for one in cpu_policies(files) if not cores or cores[0] in one.cores]
    return policies[-1] if policies else None


@dataclass
class SimulatedClock:
    """The time and energy of work on one device, by its frequency domain's files.

    Attributes:
        name: of the device.
        hardware: of the device.
        domain: of the device; None for hardware of a fixed frequency.
        busy_until_s: when it last worked, for the governor.
        is_up: the governor has it at its highest frequency.
    """

    name: str
    hardware: Hardware
    domain: SysfsDomain | None
    busy_until_s: float = -1.0
    is_up: bool = False

    def run(self, cycles: float) -> None:
        """Take the time of some cycles, and count their joules."""
        for hertz, share in self._frequencies(cycles):
            seconds = share / hertz
            TIME.now_s += seconds
            RAN.append((self.name, hertz))
            highest = hertz if self.domain is None else self.domain.frequencies_hz[-1]
            count_joules(seconds * (self.hardware.static_w + self.hardware.dynamic_w * (hertz / highest) ** 3))
        self.busy_until_s = TIME.now_s

    def _frequencies(self, cycles: float) -> list[tuple[float, float]]:
        """Return pairs of a frequency and the cycles that are run at it."""
        if self.domain is None:
            return [(HZ, cycles)]
        lowest, highest = (int(path.read_text()) * self.domain.unit_hz for path in self.domain.files)
        if lowest == highest or read_text(self.domain.lowest.parent / "governor") == "performance":
            return [(highest, cycles)]
        if read_text(self.domain.lowest.parent / "scaling_governor") == "performance":
            return [(highest, cycles)]
        self.is_up = self.is_up and TIME.now_s - self.busy_until_s < SAMPLING_S
        if self.is_up:
            return [(highest, cycles)]
        slow = min(cycles, SAMPLING_S * lowest)
        self.is_up = slow < cycles
        return [(lowest, slow), (highest, cycles - slow)] if self.is_up else [(lowest, slow)]


def count_joules(joules: float) -> None:
    """Add joules to the recorded RAPL counter; do nothing on a machine without one."""
    counter = SystemFiles().path("class", "powercap", "intel-rapl:0", "energy_uj")
    if counter.exists():
        renewed = counter.with_name(f".{counter.name}.{os.getpid()}")  # whole at once: others read it meanwhile
        renewed.write_text(str(int(counter.read_text()) + round(1e6 * joules)))
        renewed.replace(counter)


def read_joules() -> float:
    """Return the recorded counter."""
    return int(SystemFiles().path("class", "powercap", "intel-rapl:0", "energy_uj").read_text()) / 1e6


@dataclass(frozen=True)
class SimulatedRunner:
    """A slice whose outputs are ONNX Runtime's, and whose time is simulated."""

    inner: Runner
    clock: SimulatedClock
    cycles: float
    is_half: bool

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.clock.run(self.cycles)
        outputs = self.inner.run(inputs)
        return {name: _halved(array) for name, array in outputs.items()} if self.is_half else outputs

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        call = self.inner.bind(inputs, outputs)

        def run() -> None:
            self.clock.run(self.cycles)
            call()
            for place in outputs.values() if self.is_half else ():
                assert isinstance(place, np.ndarray)
                place[...] = _halved(place)

        return run

    def assignment(self) -> Mapping[str, str] | None:
        return None

    def close(self) -> None:
        self.inner.close()


def _halved(array: Array) -> Array:
    return array.astype(np.float16).astype(array.dtype)


@dataclass(frozen=True)
class RecordedRuntime:
    """A vendor's runtime on the recorded machine.

    Attributes:
        name: of the backend in whose place it stands.
        clocks: of the devices, by name.
    """

    name: str
    clocks: dict[str, SimulatedClock] = field(default_factory=dict)

    @property
    def real(self) -> object:
        return {"onnxruntime": ORT, "openvino": OPENVINO}[self.name]

    def find(self) -> FoundDevices:
        found: FoundDevices = getattr(machine(), self.name)()
        return found

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        known = hardware_of(device).cycles
        return None if node.op_type in known or node.op_type == "Relu" else f"the recorded {device.name} has none"

    def load(self, model: SliceModel, device: Device) -> Runner:
        hardware = hardware_of(device)
        cycles = sum(hardware.cycles.get(node.op_type, 0.0) for node in model.model.graph.node)
        inner = ORT.load(model, Device("cpu", options={"threads": 1}))
        clock = self.clocks.setdefault(device.name, SimulatedClock(device.name, hardware, domain_of(device)))
        return SimulatedRunner(inner, clock, cycles, device.precision == "f16")

    def memory(self, device: Device) -> Memory | None:
        return None

    def can_crash(self, device: Device) -> bool:
        return False

    def core_use(self, device: Device) -> CoreUse | None:
        return self.real.core_use(device)  # type: ignore[no-any-return]

    def option_rules(self, device: Device) -> object:
        return self.real.option_rules(device)

    def offered_levels(self, device: Device) -> LevelOffer:
        return self.real.offered_levels(device)  # type: ignore[no-any-return]

    def level_control(self, device: Device) -> LevelControl:
        return self.real.level_control(device)  # type: ignore[no-any-return]


ONNXRUNTIME = RecordedRuntime("onnxruntime")
OPENVINO_RUNTIME = RecordedRuntime("openvino")


def install(patch: Callable[[object, str, object], object] = setattr) -> None:
    """Make the machine of the environment this process's machine: its runtimes, its cores.

    Args:
        patch: sets an attribute of a module.
    """
    cores = set(range(machine().core_count))
    ONNXRUNTIME.clocks.clear()
    OPENVINO_RUNTIME.clocks.clear()
    points = [
        EntryPoint(name, f"{__name__}:{value}", registry.GROUP)
        for name, value in (("onnxruntime", "ONNXRUNTIME"), ("openvino", "OPENVINO_RUNTIME"))
    ]
    patch(registry, "entry_points", lambda group: points)
    simulate_time(patch)
    patch(os, "sched_getaffinity", lambda process: cores)
    patch(os, "sched_setaffinity", lambda process, chosen: None)
