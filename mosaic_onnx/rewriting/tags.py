"""Device tags of the partitioned file: metadata, ONNX's device fields, ONNX Runtime's annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import onnx

from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.graph.graphs import free_name
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile

_DESIGNATORS: Mapping[str, str] = {
    **dict.fromkeys(("CUDA", "Tensorrt", "NvTensorRTRTX", "ROCM", "MIGraphX", "Dml", "WebGpu", "OpenCL"), "gpu"),
    **dict.fromkeys(("QNN", "VitisAI", "CoreML", "NNAPI", "RKNPU", "CANN"), "npu"),
}
"""ONNX Runtime's device classes by the beginning of the provider's name."""


def layer_annotation(device: str) -> str:
    """Return the ``layer_ann`` of a device: its name without the characters of the assignment's syntax."""
    return re.sub(r"[^\w.@-]", "_", device)


def layer_assignment_settings(profile: Profile, plan: Plan) -> str:
    """Return ONNX Runtime's ``session.layer_assignment_settings`` for a partitioned file (``gpu(=gpu0);cpu(=cpu)``)."""
    used = {device_of(each.state) for each in plan.slices}
    classes: dict[str, list[str]] = {}
    for device in profile.devices:
        if device.name in used:
            classes.setdefault(_designator(device), []).append("=" + layer_annotation(device.name))
    return ";".join(f"{name}({','.join(annotations)})" for name, annotations in classes.items())


def _designator(device: Device) -> str:
    words = [str(device.options.get("provider", "")), device.backend, device.name]
    for word in words:
        for start, name in _DESIGNATORS.items():
            if word.lower().startswith(start.lower()):
                return name
    return next((name for name in ("gpu", "npu") if device.name.lower().startswith(name)), "cpu")


def set_metadata(entries: object, values: Mapping[str, str]) -> None:
    """Set metadata entries; other keys are kept."""
    present = {entry.key: entry for entry in entries}  # type: ignore[attr-defined]
    for key, value in values.items():
        if key in present:
            present[key].value = value
        else:
            entries.add(key=key, value=value)  # type: ignore[attr-defined]


def slice_metadata(profile: Profile, plan: Plan, number: int) -> dict[str, str]:
    """Return the metadata of one slice's call."""
    planned = plan.slices[number]
    name = device_of(planned.state)
    device = next((each for each in profile.devices if each.name == name), Device(name))
    return {
        "mosaic.slice": str(number),
        "mosaic.device": name,
        "mosaic.state": planned.state,
        "mosaic.backend": device.backend,
        "mosaic.precision": device.precision,
        "mosaic.layers": json.dumps([profile.layers[layer].name for layer in planned.layers], ensure_ascii=False),
        "layer_ann": layer_annotation(name),
    }


def add_configuration(model: onnx.ModelProto, devices: Sequence[str]) -> str:
    """Add the devices to the model's multi-device field; return the configuration's name, which nodes refer to."""
    name = free_name("mosaic", {configuration.name for configuration in model.configuration}, "_")
    model.configuration.add(name=name, num_devices=len(devices), device=list(devices))
    return name
