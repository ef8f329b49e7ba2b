"""Devices that the installed ONNX Runtime may offer besides the CPU, before they are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mosaic_onnx.backends.onnxruntime.cuda import NvidiaGpu
from mosaic_onnx.backends.onnxruntime.provider_facts import BUILT_IN_DEVICES, NAME, NVIDIA_PROVIDERS
from mosaic_onnx.core.devices import Device

NOT_OFFERED: Mapping[str, str] = {
    "OpenVINOExecutionProvider": "backend openvino runs the same hardware: pip install 'mosaic-onnx[openvino]'",
}
"""Providers that are left out although they are built in, with the reason."""


def built_in_devices(providers: Sequence[str], gpus: Sequence[NvidiaGpu]) -> tuple[Device, ...]:
    """Return the devices of built-in providers, one for each NVIDIA GPU where there are several.

    Args:
        providers: names of the providers built into the installed ONNX Runtime.
        gpus: NVIDIA's GPUs on this machine.
    """
    inside = [device for device in BUILT_IN_DEVICES if device.options["provider"] in providers]
    return tuple(one for device in inside for one in _for_each_gpu(device, gpus))


def _for_each_gpu(device: Device, gpus: Sequence[NvidiaGpu]) -> tuple[Device, ...]:
    if device.options["provider"] not in NVIDIA_PROVIDERS or len(gpus) < 2:
        return (device,)
    stem, dash, suffix = device.name.partition("-")
    return tuple(
        replace(
            device,
            name=f"{stem}{number}{dash}{suffix}",
            options={**device.options, "hardware": number, "provider_options.device_id": str(number)},
        )
        for number in range(len(gpus))
    )


def unknown_providers(providers: Sequence[str]) -> dict[str, str]:
    """Return the built-in providers that no entry describes, with the reason why they are not devices."""
    described = {device.options["provider"] for device in BUILT_IN_DEVICES}
    unknown = [provider for provider in providers if provider not in described]
    words = f"built into {NAME}; a device entry makes it a device: docs/devices.md"
    return {provider: NOT_OFFERED.get(provider, words) for provider in unknown}
