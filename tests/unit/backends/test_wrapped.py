"""A backend around another one is asked what the other one is."""

from __future__ import annotations

from typing import cast

from mosaic_onnx.backends.base import Backend, CanCrash, FoundDevices
from mosaic_onnx.backends.wrapped import WrappedBackend
from mosaic_onnx.core.devices import Device


class Careful:
    """A backend with one optional part of the contract, and one that a wrapper has too."""

    name = "careful"

    def find(self) -> FoundDevices:
        return FoundDevices((Device("here", backend="careful"),))

    def can_crash(self, device: Device) -> bool:
        return device.name == "fragile"

    def memory(self, device: Device) -> str:
        return f"the inner memory of {device.name}"


class WithoutMemory(WrappedBackend):
    def memory(self, device: Device) -> None:
        return None


def test_optional_parts_of_the_contract_are_handed_on() -> None:
    wrapped = WrappedBackend(cast(Backend, Careful()))
    assert isinstance(wrapped, CanCrash)
    assert [wrapped.can_crash(Device(name)) for name in ("fragile", "here")] == [True, False]
    assert (wrapped.name, [device.name for device in wrapped.find().devices]) == ("careful", ["here"])


def test_what_the_wrapper_has_itself_stands_before_the_other_s() -> None:
    assert WithoutMemory(cast(Backend, Careful())).memory(Device("here")) is None
