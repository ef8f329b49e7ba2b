"""A backend seen through its children: whatever they answer, the error names the device, and nobody else is harmed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import BrokenBackend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, DeviceError, UsageError
from mosaic_onnx.isolation.backend import IsolatedBackend, address_of
from mosaic_onnx.isolation.process import ChildDied
from tests.unit.backends.helpers import unary
from tests.unit.profiling import fake_backends
from tests.unit.profiling.fake_backends import Fake, RecordedBuffer

DEVICE = Device("npu", backend="working")
NODE = onnx.helper.make_node("Neg", ["x"], ["y"])
X = np.ones((2, 3), np.float32)


class Answers:
    """Stands for a child: gives the same answer to every request, or dies."""

    def __init__(self, folder: Path, answer: Mapping[str, Any] | None) -> None:
        self.files, self.name, self.generation = folder, "", 0
        self._answer = answer

    def ask(self, action: str, *rest: object) -> dict[str, Any]:
        if self._answer is None:
            raise ChildDied("crashed its process (SIGSEGV)")
        return dict(self._answer)

    def close(self) -> None:
        self.generation += 1


def answering(folder: Path, answer: Mapping[str, Any] | None) -> IsolatedBackend:
    backend = IsolatedBackend(fake_backends.WORKING, "")
    backend._spare = Answers(folder, answer)  # type: ignore[assignment]
    return backend


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "asked for its devices, it crashed its process"),
        ({"failure": "RuntimeError: no driver"}, "asked for its devices, it RuntimeError: no driver"),
        ({"devices": []}, "it gave an invalid answer"),
        ({"devices": [{"levels": [], "colour": "red"}], "absent": [], "versions": {}}, "it gave an invalid answer"),
    ],
)
def test_a_backend_that_breaks_when_it_is_asked_is_told_as_broken(
    tmp_path: Path, answer: Mapping[str, Any] | None, words: str
) -> None:
    [absent] = answering(tmp_path, answer).find().absent
    assert isinstance(absent, BrokenBackend)
    assert words in absent.reason


def test_the_child_that_finds_devices_becomes_that_of_the_first(tmp_path: Path) -> None:
    backend = answering(tmp_path, {"reasons": ["no such operator"]})
    assert backend.supports(NODE, DEVICE) == "no such operator"
    assert backend.child(DEVICE).name == "npu"
    assert backend.child(DEVICE) is not backend.child(Device("other", backend="working"))


def test_a_failed_answer_names_the_device_and_keeps_the_hint(tmp_path: Path) -> None:
    backend = answering(tmp_path, {"failure": "out of tiles", "hint": "use fewer"})
    with pytest.raises(DeviceError, match=r"device npu: out of tiles \(its claims\)") as caught:
        backend.claims([NODE], DEVICE)
    assert (caught.value.hint, caught.value.device) == ("use fewer", "npu")


def test_an_option_that_is_wrong_stays_the_users_error(tmp_path: Path) -> None:
    backend = answering(tmp_path, {"failure": "npu: no option 'x'", "is_usage": True})
    with pytest.raises(UsageError, match="npu: no option 'x'"):
        backend.has_own_memory(DEVICE)


def test_a_child_that_dies_is_the_devices_fault(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="device npu crashed its process"):
        answering(tmp_path, None).load(unary("Neg"), DEVICE)


def test_an_answer_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    backend = answering(tmp_path, {"number": 1, "assignment": None, "tensors": {"y": "nonsense"}})
    runner = backend.load(unary("Neg"), DEVICE)
    with pytest.raises(BackendError, match="its process gave an invalid answer"):
        runner.run({"x": X})
    assert runner.assignment() is None


def test_a_slice_whose_child_died_or_that_was_closed_runs_no_more(tmp_path: Path) -> None:
    backend = answering(tmp_path, {"number": 1, "assignment": {"y": "NPU"}, "tensors": {}})
    one, other = backend.load(unary("Neg"), DEVICE), backend.load(unary("Neg"), DEVICE)
    assert one.assignment() == {"y": "NPU"}
    one.close()
    one.close()
    with pytest.raises(BackendError, match="it was closed"):
        one.run({"x": X})
    backend.child(DEVICE).generation += 1
    with pytest.raises(BackendError, match="its process ended"):
        other.run({"x": X})
    other.close()


def test_a_buffer_of_another_device_cannot_be_bound(tmp_path: Path) -> None:
    runner = answering(tmp_path, {"number": 1, "assignment": None}).load(unary("Neg"), DEVICE)
    with pytest.raises(BackendError, match="tensor 'y' is bound to a buffer of another device"):
        runner.bind({"x": X}, {"y": RecordedBuffer(X)})


def test_memory_of_a_device_in_a_child_is_known_and_not_handed_out() -> None:
    address = "tests.unit.profiling.fake_backends:OWN_MEMORY"
    device = Device("own-memory", backend="own-memory")
    with closing(IsolatedBackend(fake_backends.OWN_MEMORY, address)) as backend:
        assert backend.memory(device) is None
        assert backend.has_own_memory(device)


def test_a_backend_that_no_module_holds_has_no_address() -> None:
    assert address_of(fake_backends.WORKING) == "tests.unit.profiling.fake_backends:WORKING"
    assert address_of(Fake("nobody's")) is None
