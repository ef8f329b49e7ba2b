"""Options of an OpenVINO device, read once and checked, and their configuration for OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mosaic_onnx.backends.option_model import OptionRule, harmless, rules_of
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.process.cpu_cores import (
    can_pin,
    default_thread_count,
    parse_cores,
    refuse_thread_count,
    why_not_cores,
    why_not_threads,
)

_PROPERTY = "properties."
_PRECISIONS = ("f32", "bf16", "f16")


@dataclass(frozen=True, kw_only=True)
class OpenvinoOptions:
    """An OpenVINO device's options; a bundle may set those that are declared harmless.

    Attributes:
        precision: the precision of its arithmetic.
        plugin: OpenVINO's device (``CPU``, ``GPU``, ``NPU``).
        threads: inference threads, the calling one included.
        cores: the core to which a single-threaded device is pinned; None for no pinning.
        properties: OpenVINO's own properties (``properties.KEY``).
        runtime_default: compile with OpenVINO's own defaults, the precision excepted.
    """

    precision: str
    plugin: str = "CPU"
    threads: int = harmless(check=why_not_threads)
    cores: frozenset[int] | None = harmless(check=why_not_cores)
    properties: Mapping[str, str]
    runtime_default: bool = harmless(default=False)

    def configuration(self) -> dict[str, object]:
        """Return OpenVINO's configuration: low latency, in the device's precision (its default may be bf16)."""
        if self.runtime_default:
            return {"INFERENCE_PRECISION_HINT": self.precision, **self.properties}
        configuration: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        if self.plugin == "CPU":
            configuration["INFERENCE_NUM_THREADS"] = self.threads
            configuration["ENABLE_CPU_PINNING"] = False
        return configuration | dict(self.properties)


_HARMLESS_PROPERTIES = (
    *("CPU_DENORMALS_OPTIMIZATION", "DYNAMIC_QUANTIZATION_GROUP_SIZE", "ENABLE_CPU_PINNING", "ENABLE_HYPER_THREADING"),
    *("EXECUTION_MODE_HINT", "INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION"),
    *("MODEL_PRIORITY", "PERFORMANCE_HINT", "PERF_COUNT", "SCHEDULING_CORE_TYPE"),
)
"""Properties that a bundle may set; others name files and folders (``CACHE_DIR``, ``WEIGHTS_PATH``)."""


def option_rules() -> tuple[OptionRule, ...]:
    """Return every option, and whether a bundle may set it; the precision is the device's own field."""
    return rules_of(OpenvinoOptions, {"properties": _HARMLESS_PROPERTIES}, leave_out=("precision",))


_KNOWN = tuple(rule.key for rule in option_rules() if "." not in rule.key)


def read_options(device: Device) -> OpenvinoOptions:
    """Return the device's options.

    Raises:
        UsageError: an option is unknown or its value does not fit; the message names device and option.
    """
    for key, value in device.options.items():
        if key not in _KNOWN and not key.startswith(_PROPERTY):
            known = ", ".join([*_KNOWN, f"{_PROPERTY}*"])
            raise UsageError(f"device {device.name}: option {key!r} is unknown", f"known: {known}")
        if key == "runtime_default" and type(value) is not bool:
            raise UsageError(f"device {device.name}: runtime_default = {value!r} is not true or false")
        if key == "threads":
            refuse_thread_count(device.name, value)
    if device.precision not in _PRECISIONS:
        raise UsageError(
            f"device {device.name}: OpenVINO cannot compute in {device.precision!r}", f"can: {', '.join(_PRECISIONS)}"
        )
    cores = _cores(device)
    return OpenvinoOptions(
        precision=device.precision,
        plugin=str(device.options.get("plugin", OpenvinoOptions.plugin)),
        threads=int(device.options.get("threads", 1 if cores else default_thread_count())),
        cores=cores,
        runtime_default=bool(device.options.get("runtime_default", False)),
        properties={
            key.removeprefix(_PROPERTY): str(value)
            for key, value in device.options.items()
            if key.startswith(_PROPERTY)
        },
    )


def _cores(device: Device) -> frozenset[int] | None:
    """Return the core for the calling thread, in which OpenVINO runs single-threaded slices."""
    if "cores" not in device.options:
        return None
    cores = parse_cores(str(device.options["cores"]))
    if len(cores) > 1 or device.options.get("threads", 1) != 1 or not can_pin():
        raise UsageError(
            f"device {device.name}: OpenVINO places its own threads; only a single one can be held on a core",
            "give one core, or threads alone",
        )
    return frozenset(cores)
