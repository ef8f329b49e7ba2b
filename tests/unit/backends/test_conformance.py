"""Every backend that ships passes the shipped suite, and backends that break the contract do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import Array, Backend, FoundDevices, Memory, Place, Runner, SliceModel
from mosaic_onnx.backends.conformance import suite as conformance
from mosaic_onnx.backends.conformance.suite import NotConformingError, check_backend
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.discovery.registry import backends, find_all

CPU = Device("cpu", backend="onnxruntime", options={"threads": 1})
DEVICES = [
    pytest.param("cpu"),
    pytest.param("openvino", marks=pytest.mark.provider("openvino")),
    pytest.param("openvino-bf16", marks=pytest.mark.provider("openvino-bf16")),
    pytest.param("qnn", marks=pytest.mark.provider("qnn")),
    pytest.param("webgpu", marks=pytest.mark.provider("webgpu")),
    pytest.param("cuda", marks=pytest.mark.provider("cuda")),
]


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", DEVICES)
def test_every_shipped_backend_conforms(name: str, check: Callable[[Backend, Device], None]) -> None:
    device = find_all().devices[name]
    check(backends()[device.backend], device)


@pytest.mark.parametrize("options", [{"threads": 2}, {"optimisation": "disabled"}, {"cores": "0"}], ids=str)
def test_the_cpu_conforms_with_any_options(options: dict[str, Any]) -> None:
    check_backend(ORT, Device("cpu", backend="onnxruntime", options=options))


class Faulty:
    """ONNX Runtime's CPU backend with one fault."""

    name = "onnxruntime"

    def find(self) -> FoundDevices:
        return ORT.find()

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        return self.wrap(ORT.load(model, device))

    def wrap(self, runner: Runner) -> Runner:
        return runner

    def memory(self, device: Device) -> Memory | None:
        return None


@dataclass
class FaultyRunner:
    """Hands everything on to a good runner."""

    good: Runner

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self.good.run(inputs)

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        return self.good.bind(inputs, outputs)

    def assignment(self) -> Mapping[str, str] | None:
        return self.good.assignment()

    def close(self) -> None:
        self.good.close()


def faults_of(backend: Backend) -> str:
    with pytest.raises(NotConformingError) as caught:
        check_backend(backend, CPU)
    return caught.value.message


def test_a_backend_without_fault_passes() -> None:
    check_backend(Faulty(), CPU)


def test_bad_backend_whose_find_raises() -> None:
    class Bad(Faulty):
        def find(self) -> FoundDevices:
            raise RuntimeError("driver crashed")

    assert "check_find_never_raises: find: RuntimeError: driver crashed" in faults_of(Bad())


def test_bad_backend_that_names_a_device_after_the_host() -> None:
    class Bad(Faulty):
        def find(self) -> FoundDevices:
            return FoundDevices((Device("host", backend="onnxruntime"),))

    assert "device name 'host' is not legal" in faults_of(Bad())


def test_bad_backend_whose_claims_are_empty() -> None:
    class Bad(Faulty):
        def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
            return ""

    assert "supports answered ''" in faults_of(Bad())


def test_bad_backend_that_copies_inputs_when_it_binds() -> None:
    class Stale(FaultyRunner):
        def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
            return self.good.bind({name: np.copy(place) for name, place in inputs.items()}, outputs)  # type: ignore[call-overload]

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Stale(runner)

    faults = faults_of(Bad())
    assert "check_bound_call_reads_inputs_then" in faults
    assert "check_two_slices_share_an_array" in faults


def test_bad_backend_whose_bound_call_writes_elsewhere() -> None:
    class Elsewhere(FaultyRunner):
        def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
            return self.good.bind(inputs, {name: np.copy(place) for name, place in outputs.items()})  # type: ignore[call-overload]

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Elsewhere(runner)

    assert "check_bound_call_runs_in_place" in faults_of(Bad())


def test_bad_backend_whose_runs_share_an_output() -> None:
    class Shared(FaultyRunner):
        last: dict[str, Array] | None = None

        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            made = self.good.run(inputs)
            if self.last is None or any(self.last[name].shape != made[name].shape for name in made):
                self.last = made
            for name, array in made.items():
                self.last[name][...] = array
            return self.last

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Shared(runner)

    assert "the output of a run changed when the next one ran" in faults_of(Bad())


def test_bad_backend_that_writes_into_its_inputs() -> None:
    class Scribbling(FaultyRunner):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            made = self.good.run(inputs)
            for array in inputs.values():
                if array.flags.writeable and array.dtype.kind == "f":
                    array[...] = 0
            return made

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Scribbling(runner)

    assert "run changed its inputs" in faults_of(Bad())


def test_bad_backend_that_computes_in_less_than_its_precision() -> None:
    class Rough(FaultyRunner):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            made = self.good.run(inputs)
            return {name: _rough(array) for name, array in made.items()}

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Rough(runner)

    assert "of its largest value" in faults_of(Bad())


def _rough(array: Array) -> Array:
    return array.astype(np.float16).astype(array.dtype) if array.dtype.kind == "f" else array


def test_bad_backend_that_saturates_integers() -> None:
    class Saturating(FaultyRunner):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            made = self.good.run(inputs)
            return {name: np.maximum(array, 0) if array.dtype.kind == "i" else array for name, array in made.items()}

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Saturating(runner)

    assert "output y of sub_int8: differs" in faults_of(Bad())


def test_bad_backend_that_returns_another_type() -> None:
    class Widening(FaultyRunner):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {name: array.astype(np.float64) for name, array in self.good.run(inputs).items()}

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Widening(runner)

    assert "has type float64, not float32" in faults_of(Bad())


def test_bad_backend_that_leaves_an_output_out() -> None:
    class Short(FaultyRunner):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return dict(list(self.good.run(inputs).items())[:1])

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Short(runner)

    assert "outputs are ['z'], not ['c', 'z']" in faults_of(Bad())


def test_bad_backend_that_binds_whatever_it_is_given() -> None:
    class Trusting(FaultyRunner):
        def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
            try:
                return self.good.bind(inputs, outputs)
            except BackendError:
                return lambda: None

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Trusting(runner)

    assert "an output array that is too small: was accepted" in faults_of(Bad())


def test_bad_backend_that_lets_a_vendors_exception_through() -> None:
    class Raw(FaultyRunner):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            try:
                return self.good.run(inputs)
            except BackendError as error:
                raise RuntimeError(error.message) from error

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Raw(runner)

    assert "raised RuntimeError, not BackendError" in faults_of(Bad())


def test_bad_backend_that_takes_operators_that_nobody_has() -> None:
    class Bad(Faulty):
        def load(self, model: SliceModel, device: Device) -> Runner:
            if model.model.graph.name != "foreign":
                return ORT.load(model, device)
            return ORT.load(conformance.slices.chain().model, device)

    assert "an operator of domain no.such.domain: was accepted" in faults_of(Bad())


def test_bad_backend_whose_refusal_does_not_name_the_device() -> None:
    class Bad(Faulty):
        def load(self, model: SliceModel, device: Device) -> Runner:
            try:
                return ORT.load(model, device)
            except BackendError:
                raise BackendError("it failed") from None

    assert "the refusal does not name the device" in faults_of(Bad())


def test_bad_backend_that_changes_the_model() -> None:
    class Bad(Faulty):
        def load(self, model: SliceModel, device: Device) -> Runner:
            model.model.graph.node[0].name += "_loaded"
            return ORT.load(model, device)

    assert "load changed the model" in faults_of(Bad())


def test_bad_backend_that_cannot_be_closed_twice() -> None:
    class Fragile(FaultyRunner):
        closed = False

        def close(self) -> None:
            if self.closed:
                raise BackendError("closed already")
            self.closed = True

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Fragile(runner)

    faults = faults_of(Bad())
    assert "check_close: close: BackendError: closed already" in faults


def test_bad_backend_whose_upload_reads_later() -> None:
    class Lazy:
        """A buffer that keeps the array it was given instead of copying it."""

        def __init__(self, shape: tuple[int, ...]) -> None:
            self.array: Array = np.zeros(shape, np.float32)
            self.given: Array | None = None

        def upload(self, array: Array) -> None:
            self.given = array

        def settle(self) -> None:
            if self.given is not None:
                self.array[...] = self.given

        def download(self, array: Array) -> None:
            array[...] = self.array

    class LazyMemory:
        def allocate(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Lazy:
            return Lazy(shape)

    class Settling(FaultyRunner):
        def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
            def arrays(places: Mapping[str, Place]) -> dict[str, Place]:
                return {name: place.array if isinstance(place, Lazy) else place for name, place in places.items()}

            call = self.good.bind(arrays(inputs), arrays(outputs))

            def late() -> None:
                for place in inputs.values():
                    if isinstance(place, Lazy):
                        place.settle()
                call()

            return late

    class Bad(Faulty):
        def wrap(self, runner: Runner) -> Runner:
            return Settling(runner)

        def memory(self, device: Device) -> Memory | None:
            return LazyMemory()

    assert "check_device_buffers: output downloaded from a device buffer" in faults_of(Bad())
