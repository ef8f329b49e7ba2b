"""Every entry that docs/devices.md shows can be read, and its options mean something to its backend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mosaic_onnx.backends.onnxruntime.options import read_options as read_ort_options
from mosaic_onnx.backends.onnxruntime.provider_facts import PLUGIN_DEVICES
from mosaic_onnx.backends.openvino.options import read_options as read_openvino_options
from mosaic_onnx.core.devices import Device
from mosaic_onnx.files.device_file import devices_from_toml

DOCUMENT = Path(__file__).parents[3] / "docs" / "devices.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
READ = {"onnxruntime": read_ort_options, "openvino": read_openvino_options}


def entries() -> list[Device]:
    return [device for block in BLOCKS for device in devices_from_toml(block)]


def test_the_document_shows_an_entry_for_every_provider_that_we_name() -> None:
    names = {str(device.options.get("provider", "")) for device in entries()}
    wanted = {"CUDA", "Tensorrt", "Dml", "CoreML", "VitisAI", "MIGraphX", "QNN", "WebGpu"}
    assert {f"{name}ExecutionProvider" for name in wanted} <= names


@pytest.mark.parametrize("device", entries(), ids=lambda device: device.name)
def test_an_entry_of_the_document_is_legal(device: Device) -> None:
    assert READ[device.backend](device)


def test_the_entries_of_shipped_plugins_are_those_of_the_code() -> None:
    shown = {device.name: device for device in entries()}
    for device in PLUGIN_DEVICES:
        assert shown[device.name].options == device.options
        assert shown[device.name].precision == device.precision
        assert shown[device.name].io == device.io
