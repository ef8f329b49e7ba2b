"""Options of an OpenVINO device, read once and checked, and the configuration that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mosaic_onnx.backends.cores import can_pin, default_thread_count, parse_cores
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError

_PROPERTY = "properties."
_KNOWN = ("plugin", "threads", "cores")
_PRECISIONS = ("f32", "bf16", "f16")


@dataclass(frozen=True)
class Options:
    """An OpenVINO device's options.

    Attributes:
        precision: what it computes in.
        plugin: OpenVINO's device (``CPU``, ``GPU``, ``NPU``).
        threads: inference threads, the calling one included.
        cores: the one core that a single-threaded device is held on; None for no pinning.
        properties: OpenVINO's own properties (``properties.KEY``), as they are.
    """

    precision: str
    plugin: str
    threads: int
    cores: frozenset[int] | None
    properties: Mapping[str, str]

    def configuration(self) -> dict[str, object]:
        """Low latency at the device's own precision: OpenVINO's default would be bf16 where the CPU has it."""
        configuration: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        if self.plugin == "CPU":
            configuration["INFERENCE_NUM_THREADS"] = self.threads
            configuration["ENABLE_CPU_PINNING"] = False
        return configuration | dict(self.properties)


def read_options(device: Device) -> Options:
    """The device's options.

    Raises:
        UsageError: an option is unknown or its value does not fit; the message names device and option.
    """
    for key, value in device.options.items():
        if key not in _KNOWN and not key.startswith(_PROPERTY):
            known = ", ".join([*_KNOWN, f"{_PROPERTY}*"])
            raise UsageError(f"device {device.name}: option {key!r} is unknown", f"known: {known}")
        if key == "threads" and (type(value) is not int or value < 1):
            raise UsageError(f"device {device.name}: threads = {value!r} is not a positive number")
    if device.precision not in _PRECISIONS:
        raise UsageError(
            f"device {device.name}: OpenVINO cannot compute in {device.precision!r}", f"can: {', '.join(_PRECISIONS)}"
        )
    cores = _cores(device)
    return Options(
        precision=device.precision,
        plugin=str(device.options.get("plugin", "CPU")),
        threads=int(device.options.get("threads", 1 if cores else default_thread_count())),
        cores=cores,
        properties={
            key.removeprefix(_PROPERTY): str(value)
            for key, value in device.options.items()
            if key.startswith(_PROPERTY)
        },
    )


def _cores(device: Device) -> frozenset[int] | None:
    """The one core to hold the caller on: OpenVINO runs a single-threaded slice in the calling thread."""
    if "cores" not in device.options:
        return None
    cores = parse_cores(str(device.options["cores"]))
    if len(cores) > 1 or device.options.get("threads", 1) != 1 or not can_pin():
        raise UsageError(
            f"device {device.name}: OpenVINO places its own threads; only a single one can be held on a core",
            "give one core, or threads alone",
        )
    return frozenset(cores)
