"""A backend on a recorded machine: its runs take as long, and count as many joules, as the held frequency says.

The outputs are ONNX Runtime's. Time is simulated (``tests/machine/simulated_time.py``). Frequencies and joules are
those of the recorded files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from mosaic_onnx.backends.base import (
    Array,
    FoundDevices,
    LevelControl,
    LevelOffer,
    Memory,
    Place,
    Runner,
    SliceModel,
)
from mosaic_onnx.backends.hardware.frequencies import SysfsDomain
from mosaic_onnx.backends.hardware.levels import DomainLevels, named_domain, offered_levels
from mosaic_onnx.backends.hardware.system import SystemFiles
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device
from tests.machine.simulated_time import TIME

CYCLES = 4e6
"""Of every node but a Relu, which costs nothing: a slice of one Relu shows what a call costs."""
FIXED_S = 1e-3
"""Of every call."""
DYNAMIC_W = {"policy0": 1.0, "policy4": 4.0}
"""At the highest frequency; it falls with the cube of the frequency, as V²f does where V follows f."""


def domain_of(device: Device) -> SysfsDomain:
    found = named_domain(SystemFiles(), str(device.options["domain"]))
    assert isinstance(found, SysfsDomain)
    return found


@dataclass(frozen=True)
class ObedientRunner:
    """A slice that takes γ/f + ε seconds and adds its joules to the recorded counter."""

    inner: Runner
    domain: SysfsDomain
    cycles: float

    def _work(self) -> None:
        hertz = int(self.domain.highest.read_text()) * self.domain.unit_hz
        seconds = self.cycles / hertz + FIXED_S
        TIME.now_s += seconds
        scale = (hertz / self.domain.frequencies_hz[-1]) ** 3
        count_joules(DYNAMIC_W[self.domain.name] * scale * seconds)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._work()
        return self.inner.run(inputs)

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        call = self.inner.bind(inputs, outputs)

        def run() -> None:
            self._work()
            call()

        return run

    def assignment(self) -> Mapping[str, str] | None:
        return None

    def close(self) -> None:
        self.inner.close()


def count_joules(joules: float) -> None:
    counter = SystemFiles().path("class", "powercap", "intel-rapl:0", "energy_uj")
    counter.write_text(str(int(counter.read_text()) + round(1e6 * joules)))


@dataclass(frozen=True)
class Obedient:
    """Runs on the frequency domains of a recorded machine."""

    name: str = "obedient"

    def find(self) -> FoundDevices:
        return FoundDevices()

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        working = sum(node.op_type != "Relu" for node in model.model.graph.node)
        inner = ORT.load(model, Device("cpu", options={"threads": 1}))
        return ObedientRunner(inner, domain_of(device), CYCLES * working)

    def memory(self, device: Device) -> Memory | None:
        return None

    def can_crash(self, device: Device) -> bool:
        return False

    def offered_levels(self, device: Device) -> LevelOffer:
        return offered_levels([domain_of(device)])

    def level_control(self, device: Device) -> LevelControl:
        return FollowedLevels([domain_of(device)])


class FollowedLevels(DomainLevels):
    """The recorded machine's clock: the frequency that is run is the upper limit."""

    def read_hz(self) -> float | None:
        domain = self.domains[0]
        assert isinstance(domain, SysfsDomain)
        domain.current.write_text(domain.highest.read_text())
        return domain.read_hz()


BACKEND = Obedient()


def recorded_counter(root: Path) -> None:
    """A RAPL package whose counter the runs raise."""
    zone = root / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("0\n")
    (zone / "max_energy_range_uj").write_text("1000000000000\n")
