"""A plan for energy is refused before anything is measured where no joules can come of it."""

from __future__ import annotations

import pytest

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.backends.hardware.energy_meters import AbsentMeter, Meters
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.backends.simulated.backend import BACKEND as SIMULATED
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.profiling.energy.source import refuse_without_joules
from mosaic_onnx.profiling.energy.watts import Watts

BACKENDS: dict[str, Backend] = {"onnxruntime": ORT, "simulated": SIMULATED}
CPU, BOARD = Device("cpu", "onnxruntime"), Device("npu", "simulated", simulated=True)
NOTHING = Meters(absent=(AbsentMeter("rapl", "no RAPL zone"),))


class Meter:
    name = "rapl:package-0"

    def read_joules(self) -> float:
        return 1.0


def test_a_device_without_meter_and_power_is_refused_with_the_ways_out() -> None:
    with pytest.raises(UsageError, match=r"energy of cpu cannot be known: .*rapl: no RAPL zone") as refusal:
        refuse_without_joules([CPU, BOARD], BACKENDS, {}, NOTHING)
    assert "--watts cpu=3,15" in refusal.value.hint


def test_declared_power_a_meter_or_a_description_is_enough() -> None:
    refuse_without_joules([CPU], BACKENDS, {"cpu": Watts(1, 2)}, NOTHING)
    refuse_without_joules([CPU], BACKENDS, {}, Meters(meters=(Meter(),)))
    refuse_without_joules([BOARD], BACKENDS, {}, NOTHING)
