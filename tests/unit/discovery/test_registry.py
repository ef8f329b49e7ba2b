from __future__ import annotations

from pathlib import Path

import pytest

from mosaic_onnx.backends.base import AbsentDevice, FoundDevices
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.discovery.registry import Inventory, Unloadable, backends, find_all, left_out, select_devices

HERE = Inventory(
    {
        device.name: device
        for device in (
            Device("cpu", backend="onnxruntime"),
            Device("openvino-bf16", backend="openvino", precision="bf16"),
            Device("qnn", backend="onnxruntime", precision="f16", simulated=True),
        )
    },
    (AbsentDevice("webgpu", "onnxruntime", "package onnxruntime-ep-webgpu is not installed"),),
)


def names(devices: tuple[Device, ...]) -> list[str]:
    return [device.name for device in devices]


class Finder:
    """A backend that finds what it is told, or fails."""

    name = "finder"

    def __init__(self, found: FoundDevices | Exception) -> None:
        self.found = found

    def find(self) -> FoundDevices:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_the_shipped_backends_are_found_by_entry_point() -> None:
    assert {"onnxruntime", "openvino", "simulated"} <= set(backends())


def test_by_default_real_devices_of_the_models_precision_take_part() -> None:
    assert names(select_devices([], HERE)) == ["cpu"]


def test_a_model_of_lower_precision_lets_devices_of_that_precision_join() -> None:
    assert names(select_devices([], HERE, "bf16")) == ["cpu", "openvino-bf16"]


def test_what_is_left_out_is_listed_with_the_reason() -> None:
    out = left_out(select_devices([], HERE), HERE)
    assert [each.name for each in out] == ["openvino-bf16", "qnn"]
    assert "computes in bf16" in out[0].reason
    assert "simulated" in out[1].reason


def test_devices_stay_in_the_order_in_which_they_were_found() -> None:
    inventory = find_all(
        {"a": Finder(FoundDevices((Device("cpu"), Device("gpu")))), "b": Finder(FoundDevices((Device("npu"),)))}
    )  # type: ignore[dict-item]
    assert list(inventory.devices) == ["cpu", "gpu", "npu"]


def test_a_named_simulator_takes_part() -> None:
    chosen = select_devices(["qnn", "cpu"], HERE)
    assert names(chosen) == ["qnn", "cpu"]
    assert left_out(chosen, HERE)[0].reason.startswith("computes in bf16")


def test_a_devices_file_gives_all_its_devices(tmp_path: Path) -> None:
    path = tmp_path / "phone.toml"
    path.write_text('schema = "mosaic-onnx/devices/1"\n[[devices]]\nname = "npu"\nbackend = "simulated"\n')
    assert names(select_devices(["cpu", str(path)], HERE)) == ["cpu", "npu"]


def test_a_name_from_two_sources_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "phone.toml"
    path.write_text('schema = "mosaic-onnx/devices/1"\n[[devices]]\nname = "cpu"\nbackend = "simulated"\n')
    with pytest.raises(UsageError, match="'cpu' is named twice"):
        select_devices(["cpu", str(path)], HERE)


def test_an_absent_device_is_refused_with_its_reason() -> None:
    with pytest.raises(UsageError, match="'webgpu' is not here: package onnxruntime-ep-webgpu is not installed"):
        select_devices(["webgpu"], HERE)


def test_an_unknown_word_is_refused_with_what_is_here() -> None:
    with pytest.raises(UsageError, match=r"'gpu0'(.|\n)*one of: cpu, openvino-bf16, qnn"):
        select_devices(["gpu0"], HERE)


def test_a_machine_without_a_default_device_says_so() -> None:
    with pytest.raises(UsageError, match="no device takes part by default"):
        select_devices([], Inventory())


def test_the_first_backend_keeps_a_name_and_a_failing_one_is_a_line() -> None:
    first, second = Device("cpu", backend="a"), Device("cpu", backend="b")
    inventory = find_all(
        {
            "a": Finder(FoundDevices((first,), versions={"a": "1"})),
            "b": Finder(FoundDevices((second,))),
            "c": Finder(RuntimeError("driver crashed")),
            "d": Unloadable("d", "ImportError: no module"),
        }  # type: ignore[dict-item]
    )
    assert inventory.devices == {"cpu": first}
    assert [(each.name, each.reason) for each in inventory.absent] == [
        ("c", "its find() failed: RuntimeError: driver crashed"),
        ("d", "ImportError: no module"),
    ]
    assert inventory.versions == {"a": "1"}
