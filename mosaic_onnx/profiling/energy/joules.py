"""Joules of a call: read from counters where they can be read, from declared power otherwise.

A joule is ``measured`` (a counter was read), ``modelled`` (declared watts × measured seconds) or ``absent``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mosaic_onnx.backends.hardware.energy_meters import EnergyMeter
from mosaic_onnx.core.errors import BackendError

EnergySource = Literal["measured", "modelled", "absent"]


@dataclass(frozen=True)
class Energy:
    """The energy of one call, and its source.

    Attributes:
        joules: None where absent.
        source: measured, modelled or absent.
        seconds: of one call.
        meter: the meter's or model's name; where absent, the reason.
        error: relative difference between the two halves of a measurement; 0 where nothing was measured.
    """

    joules: float | None
    source: EnergySource
    seconds: float
    meter: str
    error: float = 0.0

    @property
    def watts(self) -> float | None:
        """Return the mean power of the call; None where absent."""
        return None if self.joules is None or not self.seconds else self.joules / self.seconds


@dataclass(frozen=True)
class PowerModel:
    """A declared power, for machines without a meter.

    Attributes:
        name: who declares it.
        watts: power while the device computes.
    """

    name: str
    watts: float


def measure_energy(
    call: Callable[[], object],
    meters: Sequence[EnergyMeter],
    model: PowerModel | None = None,
    *,
    least_s: float = 0.5,
    clock: Callable[[], float] | None = None,
) -> Energy:
    """Return the joules of one call: repeated until a counter (updated every few milliseconds) can tell, then divided.

    Args:
        call: complete when it returns.
        meters: all are read and added up; none for the declared model.
        model: used where there is no meter or a meter fails; None gives no joules then.
        least_s: seconds to repeat the call for.
        clock: seconds, never going back; None for this process's.
    """
    clock = clock or time.perf_counter
    call()
    try:
        first, second = (_spell(call, meters, least_s / 2, clock) for _ in range(2))
    except BackendError as failure:
        if model is None:
            return _absent(call, failure.message, clock)
        return measure_energy(call, (), model, least_s=least_s, clock=clock)
    calls = first.calls + second.calls
    seconds = (first.seconds + second.seconds) / calls
    if meters:
        joules = first.joules + second.joules
        halves = first.joules / first.calls, second.joules / second.calls
        error = abs(halves[0] - halves[1]) / (halves[0] + halves[1]) if sum(halves) else 0.0
        return Energy(joules / calls, "measured", seconds, "+".join(meter.name for meter in meters), error)
    if model is not None:
        return Energy(model.watts * seconds, "modelled", seconds, model.name)
    return Energy(None, "absent", seconds, "no energy meter and no declared power model")


class _Spell(NamedTuple):
    """The number of calls in a row, and their total."""

    calls: int
    seconds: float
    joules: float


def _spell(
    call: Callable[[], object], meters: Sequence[EnergyMeter], least_s: float, clock: Callable[[], float]
) -> _Spell:
    before = sum(meter.read_joules() for meter in meters)
    started, calls = clock(), 0
    while calls == 0 or clock() - started < least_s:
        call()
        calls += 1
    seconds = clock() - started
    return _Spell(calls, seconds, sum(meter.read_joules() for meter in meters) - before)


def idle_power_w(meters: Sequence[EnergyMeter], least_s: float = 0.5) -> float:
    """Return the power of the machine while this process is idle.

    Raises:
        BackendError: a counter cannot be read.
    """
    if not meters:
        return 0.0
    before, started = sum(meter.read_joules() for meter in meters), time.perf_counter()
    time.sleep(least_s)
    return (sum(meter.read_joules() for meter in meters) - before) / (time.perf_counter() - started)


def _absent(call: Callable[[], object], reason: str, clock: Callable[[], float]) -> Energy:
    started = clock()
    call()
    return Energy(None, "absent", clock() - started, reason)
