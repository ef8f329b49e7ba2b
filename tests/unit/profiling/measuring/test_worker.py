from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from mosaic_onnx.backends.base import KernelTime
from mosaic_onnx.core.devices import Device
from mosaic_onnx.isolation.backend import address_of
from mosaic_onnx.profiling.measuring.meter import LocalMeter, Meter, open_meter
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement, SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.measuring.worker import ChildMeter
from tests.unit.backends.helpers import unary
from tests.unit.profiling import fake_backends
from tests.unit.profiling.fake_backends import Fake

BUDGET = TimeBudget(0.001, 2, 5)
X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
NEG = unary("Neg")


@contextmanager
def child(backend: Fake, limit_s: float = 30.0) -> Iterator[Meter]:
    meter = open_meter(backend, backend.find().devices[0], limit_s)
    assert isinstance(meter, ChildMeter)
    with closing(meter):
        yield meter


def measure(meter: Meter) -> SliceMeasurement:
    return meter.measure(NEG, SliceTrial({"x": X}, {"y": -X}, BUDGET))


def test_a_child_measures_as_this_process_does() -> None:
    with child(fake_backends.WORKING) as meter:
        measurement = measure(meter)
        assert (measurement.reason, measurement.error) == ("", 0.0)
        assert measurement.seconds is not None
        assert measurement.seconds > 0
        assert meter.probe(NEG).reason == ""
        assert meter.kernels(NEG, {"x": X}, BUDGET) == (KernelTime("y", 0.25),)
        assert meter.copies(BUDGET) is None


def test_copies_of_a_device_with_its_own_memory_come_from_the_child() -> None:
    with child(fake_backends.OWN_MEMORY) as meter:
        copies = meter.copies(BUDGET)
        assert copies is not None
        assert [size_bytes for size_bytes, _ in copies.to_device] == [4**power for power in range(1, 13)]


def test_a_crash_is_a_reason_and_the_next_request_gets_a_new_child() -> None:
    with child(fake_backends.CRASHING) as meter:
        for _ in range(2):
            assert "crashed its process (SIGSEGV)" in measure(meter).reason


def test_a_provider_that_keeps_crashing_is_not_tried_for_ever() -> None:
    with child(fake_backends.CRASHING) as meter:
        for _ in range(3):
            measure(meter)
        assert measure(meter).reason == "not tried: the provider crashed or hung 3 times in a row"


def test_a_hang_ends_at_the_limit() -> None:
    started = time.monotonic()
    with child(fake_backends.HANGING, limit_s=2.0) as meter:
        assert measure(meter).reason == "did not finish within 2 s"
    assert time.monotonic() - started < 10


def test_a_refusal_comes_with_its_words() -> None:
    with child(fake_backends.REFUSING) as meter:
        assert measure(meter).reason == "does not compile: no such operator"


def test_a_wrong_result_is_said() -> None:
    with child(fake_backends.WRONG) as meter:
        measurement = measure(meter)
        assert measurement.reason == ""
        [found] = measurement.differences
        assert (found.tensor, found.relative) == ("y", 2.0)
        assert measurement.error == 2.0


def test_what_a_library_prints_does_not_disturb_the_answers() -> None:
    with child(fake_backends.BABBLING) as meter:
        assert measure(meter).reason == ""


def test_closing_ends_the_child_and_removes_its_files() -> None:
    with child(fake_backends.WORKING) as meter:
        measure(meter)
        assert isinstance(meter, ChildMeter)
        process, files = meter.child._process, meter.child.files
        assert process is not None
    assert process.poll() is not None
    assert not files.exists()
    meter.close()


def test_a_child_is_in_a_group_of_its_own_so_that_ctrl_c_does_not_reach_it() -> None:
    with child(fake_backends.WORKING) as meter:
        measure(meter)
        assert isinstance(meter, ChildMeter)
        assert meter.child._process is not None
        assert os.getpgid(meter.child._process.pid) == meter.child._process.pid != os.getpgid(0)


def test_a_backend_that_no_module_holds_is_measured_here() -> None:
    stray = Fake("stray")
    assert address_of(stray) is None
    assert isinstance(open_meter(stray, Device("stray"), 1.0), LocalMeter)


def test_onnx_runtimes_cpu_is_measured_here_and_vendors_providers_are_not() -> None:
    from mosaic_onnx.backends.onnxruntime.backend import BACKEND

    assert isinstance(open_meter(BACKEND, Device("cpu", backend="onnxruntime"), 1.0), LocalMeter)
    vendor = Device("npu", backend="onnxruntime", options={"provider": "QNNExecutionProvider"})
    with closing(open_meter(BACKEND, vendor, 1.0)) as meter:
        assert isinstance(meter, ChildMeter)


@pytest.mark.parametrize("backend", [fake_backends.WORKING, fake_backends.OWN_MEMORY])
def test_this_process_measures_too(backend: Fake) -> None:
    meter = LocalMeter(backend, Device(backend.name))
    assert measure(meter).reason == ""
    assert (meter.copies(BUDGET) is None) is not backend.own_memory
    meter.close()
