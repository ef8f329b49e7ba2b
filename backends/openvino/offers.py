"""The devices that OpenVINO offers: each of its plugins' devices, once for each precision that it computes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mosaic_onnx.backends.base import AbsentDevice
from mosaic_onnx.core.devices import Device

NAME = "openvino"
CPU = "CPU"
PRECISIONS: Mapping[str, str] = {"FP32": "f32", "FP16": "f16", "BF16": "bf16"}
"""Our precision by OpenVINO's capability; integer capabilities concern quantised models, not devices."""
_MEMORY = {"GPU": "GPU_DEVICE_TOTAL_MEM_SIZE", "NPU": "NPU_DEVICE_TOTAL_MEM_SIZE"}


@dataclass(frozen=True)
class PluginAnswer:
    """OpenVINO's answer on one of its devices.

    Attributes:
        name: OpenVINO's name: ``CPU``, ``GPU``, ``GPU.1``, ``NPU``.
        full_name: the product's name.
        capabilities: ``OPTIMIZATION_CAPABILITIES``.
        memory_bytes: of its own memory; None where it shares the host's or does not tell.
    """

    name: str
    full_name: str = ""
    capabilities: tuple[str, ...] = ()
    memory_bytes: int | None = None

    @property
    def kind(self) -> str:
        """Return the kind of device: ``CPU``, ``GPU``, ``NPU``."""
        return self.name.partition(".")[0]


def ask_plugins(core: Any) -> tuple[PluginAnswer, ...]:
    """Return OpenVINO's answers on its devices; a device that does not answer has no capabilities."""
    return tuple(_ask(core, name) for name in core.available_devices)


def _ask(core: Any, name: str) -> PluginAnswer:
    def told(key: str) -> Any:
        try:
            return core.get_property(name, key)
        except Exception:  # a driver may raise anything; missing answers are left out
            return None

    answer = PluginAnswer(name, str(told("FULL_DEVICE_NAME") or ""), tuple(told("OPTIMIZATION_CAPABILITIES") or ()))
    memory = told(_MEMORY[answer.kind]) if answer.kind in _MEMORY else None
    return PluginAnswer(name, answer.full_name, answer.capabilities, int(memory) if memory else None)


def offered(answers: Sequence[PluginAnswer]) -> tuple[tuple[Device, ...], tuple[AbsentDevice, ...]]:
    """Return the devices to try, and those left out with the reason."""
    devices: list[Device] = []
    absent: list[AbsentDevice] = []
    for answer in answers:
        found = [_device(answer, answers, precision) for precision in _precisions(answer)]
        devices += found
        if not found:
            words = f"OpenVINO tells no floating-point precision of {answer.full_name or answer.name}"
            absent.append(AbsentDevice(_name(answer, answers), NAME, words))
    if any(answer.kind == CPU for answer in answers) and not any(one.name == "openvino-bf16" for one in devices):
        absent.append(AbsentDevice("openvino-bf16", NAME, "this CPU has no bf16 instructions"))
    return tuple(devices), tuple(absent)


def _precisions(answer: PluginAnswer) -> tuple[str, ...]:
    return tuple(ours for theirs, ours in PRECISIONS.items() if theirs in answer.capabilities)


def _name(answer: PluginAnswer, answers: Sequence[PluginAnswer]) -> str:
    """Return the device's name: ``openvino`` for the CPU, else its kind, numbered where there are several."""
    if answer.kind == CPU:
        return NAME
    same = [one for one in answers if one.kind == answer.kind]
    number = str(same.index(answer)) if len(same) > 1 else ""
    return f"{NAME}-{answer.kind.lower()}{number}"


def _device(answer: PluginAnswer, answers: Sequence[PluginAnswer], precision: str) -> Device:
    """Return a device in one precision; its most exact one has no suffix in the name."""
    stem = _name(answer, answers)
    exact = precision == _precisions(answer)[0]
    options = {} if answer.kind == CPU else {"plugin": answer.name}
    return Device(
        stem if exact else f"{stem}-{precision}",
        backend=NAME,
        precision=precision,
        memory_bytes=answer.memory_bytes,
        options=options,
        meta={"product": answer.full_name} if answer.full_name and answer.kind != CPU else {},
    )
