"""The source of a profile's joules: descriptions, meters, or declared power; it is known before measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mosaic_onnx.backends.base import Backend, CostSource
from mosaic_onnx.backends.hardware.energy_meters import Meters, find_meters
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.profiling.energy.watts import Watts


def real_devices(devices: Sequence[Device], backends: Mapping[str, Backend]) -> tuple[Device, ...]:
    """Return the devices that are measured, not described."""
    return tuple(device for device in devices if not isinstance(backends.get(device.backend), CostSource))


def refuse_without_joules(
    devices: Sequence[Device],
    backends: Mapping[str, Backend],
    watts: Mapping[str, Watts],
    meters: Meters | None = None,
) -> None:
    """Refuse to plan for energy where no joules can come of it.

    Args:
        devices: those that take part.
        backends: by name.
        watts: declared power by device.
        meters: of this machine; None looks for them.

    Raises:
        UsageError: a real device has neither a meter nor declared power; the hint names the ways out.
    """
    unknown = [device.name for device in real_devices(devices, backends) if device.name not in watts]
    if not unknown:
        return
    found = find_meters() if meters is None else meters
    belongs = {device.name: device.host for device in devices}
    if found.meters:
        unknown = [name for name in unknown if belongs[name]]
        if not unknown:
            return
        raise UsageError(
            f"the energy of {', '.join(unknown)} cannot be known: the meters of another machine are not read",
            f"declare power, for example --watts {unknown[0]}=3,15 (idle, busy), for every device",
        )
    reasons = "; ".join(f"{absent.name}: {absent.reason}" for absent in found.absent)
    raise UsageError(
        f"the energy of {', '.join(unknown)} cannot be known: no meter can be read here ({reasons})",
        f"declare power, for example --watts {unknown[0]}=3,15 (idle, busy; the joules are then called modelled), "
        "make a RAPL counter readable, or plan for a described board with -d hikey970",
    )
