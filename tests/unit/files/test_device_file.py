from __future__ import annotations

from pathlib import Path

import pytest

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.data import shipped_descriptions
from mosaic_onnx.files.device_file import (
    devices_from_toml,
    devices_schema,
    devices_to_toml,
    read_devices,
    write_devices,
)

BIG_LITTLE = """
schema = "mosaic-onnx/devices/1"

[[devices]]
name = "big"
backend = "onnxruntime"
memory_bytes = 4e9
idle_w = 0.5
levels = [{ name = "600MHz", frequency_hz = 6e8, voltage_v = 0.8 }, { name = "2GHz", frequency_hz = 2e9 }]
[devices.options]
threads = 2
cores = [4, 5]
provider_options.soc_model = "57"

[[devices]]
name = "little"
backend = "onnxruntime"
"""


def test_a_file_gives_its_devices_in_order() -> None:
    big, little = devices_from_toml(BIG_LITTLE)
    assert (big.name, little.name) == ("big", "little")
    assert big.memory_bytes == 4_000_000_000
    assert big.levels[0] == Level("600MHz", 6e8, 0.8)
    assert big.states == ("big@600MHz", "big@2GHz")


def test_nested_options_become_dotted_keys_and_lists_become_text() -> None:
    big, _ = devices_from_toml(BIG_LITTLE)
    assert big.options == {"threads": 2, "cores": "4,5", "provider_options.soc_model": "57"}


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    devices = devices_from_toml(BIG_LITTLE)
    path = tmp_path / "devices.toml"
    write_devices(devices, path)
    assert read_devices(path) == devices
    assert devices_from_toml(devices_to_toml(devices)) == devices


def test_a_file_that_exists_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        write_devices([Device("cpu", backend="onnxruntime")], path)
    write_devices([Device("cpu", backend="onnxruntime")], path, force=True)
    assert "cpu" in path.read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[devices", "not TOML"),
        ('schema = "other"', "schema is 'other'"),
        ('schema = "mosaic-onnx/devices/1"', "devices: missing"),
        ('schema = "mosaic-onnx/devices/1"\ndevices = []', "devices: "),
        (BIG_LITTLE.replace("idle_w", "idle_watts"), r"devices\[0\]\.idle_watts: unknown key"),
        (BIG_LITTLE.replace("0.5", "-0.5"), r"devices\[0\]\.idle_w: "),
        (BIG_LITTLE.replace("0.5", "nan"), r"devices\[0\]\.idle_w: "),
        (BIG_LITTLE.replace('"little"', '"big"'), "'big' occurs twice"),
        (BIG_LITTLE.replace('"2GHz"', '"600MHz"'), "'big@600MHz' occurs twice"),
        (BIG_LITTLE.replace('"little"', '"host"'), "no device can be called 'host'"),
        (BIG_LITTLE.replace('"little"', '"a@b"'), "no device can be called 'a@b'"),
        (BIG_LITTLE.replace("threads = 2", "threads = 1979-05-27"), "options.threads: an option is text"),
    ],
)
def test_a_wrong_file_is_refused_with_the_path_of_the_key(text: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        devices_from_toml(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read .*nowhere\.toml"):
        read_devices(tmp_path / "nowhere.toml")


def test_the_schema_describes_every_key_of_a_device() -> None:
    text = str(devices_schema())
    assert all(key in text for key in ("slice_memory_bytes", "voltage_v", "idle_w", "options"))


def test_every_shipped_description_can_be_read() -> None:
    from mosaic_onnx.files.device_file import read_shipped

    for name in shipped_descriptions():
        assert read_shipped(name)
    with pytest.raises(ModelError, match="no description called 'nexus6p'"):
        read_shipped("nexus6p")
