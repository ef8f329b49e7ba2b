"""The conformance suite: checks that a backend keeps the contract, for authors of backends.

Run all of it with ``check_backend(backend, device)``, or each check as a test of its own::

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
    def test_my_backend_conforms(check):
        check(BACKEND, DEVICE)

A check raises ``NotConformingError``. Refusing (``BackendError`` from ``load`` or ``bind``) conforms where the
contract allows it; a wrong result, a stale input, another exception or a crash does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from threading import Thread

import numpy as np
from onnx import helper

from mosaic_onnx.backends.base import Backend, Runner, SliceModel
from mosaic_onnx.backends.conformance import slices
from mosaic_onnx.backends.conformance.slices import Numbers, Sample
from mosaic_onnx.backends.conformance.tools import NotConformingError, agree, refusing, require, working
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError


@dataclass(frozen=True)
class BoundCall:
    """A sample's slice, loaded and bound to its own host arrays."""

    runner: Runner
    inputs: dict[str, Numbers]
    outputs: dict[str, Numbers]
    call: Callable[[], None]


def check_backend(backend: Backend, device: Device) -> None:
    """Run every check.

    Raises:
        NotConformingError: one or more failed; the message lists them.
    """
    failures = []
    for check in CHECKS:
        try:
            check(backend, device)
        except NotConformingError as error:
            failures.append(f"{check.__name__}: {error.message}")
    if failures:
        raise NotConformingError(f"device {device.name}: {len(failures)} checks failed\n" + "\n".join(failures))


def _load(backend: Backend, device: Device, model: SliceModel) -> Runner:
    with working("load of a plain slice"):
        return backend.load(model, device)


def _bind(backend: Backend, device: Device, sample: Sample) -> BoundCall:
    runner = _load(backend, device, sample.model)
    inputs = {name: array.copy() for name, array in sample.inputs.items()}
    outputs = {name: np.zeros_like(array) for name, array in sample.outputs().items()}
    with working("bind to host arrays"):
        return BoundCall(runner, inputs, outputs, runner.bind(inputs, outputs))


def check_find_never_raises(backend: Backend, device: Device) -> None:
    """Check that ``find`` names devices that a profile can hold, and gives a reason for absent ones."""
    with working("find"):
        found = backend.find()
    for each in (device, *found.devices):
        require(each.name and "@" not in each.name and each.name != "host", f"device name {each.name!r} is not legal")
        require(each.backend == backend.name, f"device {each.name} names backend {each.backend!r}")
    for absent in found.absent:
        require(absent.reason, f"{absent.name} is absent without a reason")


def check_claims_are_none_or_a_reason(backend: Backend, device: Device) -> None:
    """Check that ``supports`` returns None or a reason for any node."""
    for node in (
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Foo", ["x"], ["y"], domain="no.such.domain"),
    ):
        with working("supports"):
            claim = backend.supports(node, device)
        require(claim is None or (isinstance(claim, str) and claim), f"supports answered {claim!r}")


def check_outputs_are_right(backend: Backend, device: Device) -> None:
    """Check that ``run`` computes all outputs, by name."""
    for sample in (slices.chain(), slices.network(), slices.two_outputs(), slices.scalar()):
        runner = _load(backend, device, sample.model)
        with working("run"):
            outputs = runner.run(sample.inputs)
        expected = sample.outputs()
        require(set(outputs) == set(expected), f"outputs are {sorted(outputs)}, not {sorted(expected)}")
        for name, array in expected.items():
            agree(device, outputs[name], array, f"output {name} of {sample.name}")


def check_run_keeps_arrays_apart(backend: Backend, device: Device) -> None:
    """Check that ``run`` changes no input, and that a later run does not write into its outputs."""
    sample = slices.chain()
    runner = _load(backend, device, sample.model)
    given = {name: array.copy() for name, array in sample.inputs.items()}
    with working("run"):
        first = runner.run(given)["y"]
        kept = first.copy()
        runner.run({name: array + 1 for name, array in given.items()})
    require(np.array_equal(first, kept), "the output of a run changed when the next one ran")
    require(all(np.array_equal(given[name], sample.inputs[name]) for name in given), "run changed its inputs")


def check_read_only_inputs_run(backend: Backend, device: Device) -> None:
    """Check that ``run`` accepts read-only and non-contiguous arrays."""
    sample = slices.chain()
    runner = _load(backend, device, sample.model)
    x = np.asfortranarray(sample.inputs["x"])
    x.flags.writeable = False
    with working("run on a read-only array of other order"):
        agree(device, runner.run({"x": x})["y"], sample.outputs()["y"], "output of a read-only input")


def check_bound_call_runs_in_place(backend: Backend, device: Device) -> None:
    """Check that a call bound to host arrays is complete when it returns, and agrees with ``run``."""
    for sample in (slices.chain(), slices.network(), slices.two_outputs(), slices.scalar()):
        bound = _bind(backend, device, sample)
        with working("a bound call"):
            bound.call()
        for name, array in sample.outputs().items():
            agree(device, bound.outputs[name], array, f"bound output {name} of {sample.name}")


def check_bound_call_reads_inputs_then(backend: Backend, device: Device) -> None:
    """Check that a bound call reads its inputs at the time of the call, never a copy made by ``bind``."""
    sample = slices.chain()
    bound = _bind(backend, device, sample)
    for factor in (2.0, -3.0):
        bound.inputs["x"][...] = sample.inputs["x"] * np.float32(factor)
        with working("a bound call"):
            bound.call()
        agree(device, bound.outputs["y"], sample.outputs(x=bound.inputs["x"])["y"], "output after the input changed")


def check_runs_and_bound_calls_mix(backend: Backend, device: Device) -> None:
    """Check that ``run`` between two bound calls disturbs neither."""
    sample = slices.chain()
    bound = _bind(backend, device, sample)
    other = {"x": sample.inputs["x"] + np.float32(1)}
    with working("run between bound calls"):
        bound.call()
        made = bound.runner.run(other)["y"]
        agree(device, bound.outputs["y"], sample.outputs()["y"], "bound output after a run in between")
        bound.call()
    agree(device, made, sample.outputs(x=other["x"])["y"], "output of the run in between")
    agree(device, bound.outputs["y"], sample.outputs()["y"], "bound output of the second call")


def check_two_slices_share_an_array(backend: Backend, device: Device) -> None:
    """Check that a bound slice reads what another one bound to the same array has written."""
    first, second = slices.chain(), slices.shift()
    middle = np.zeros_like(first.outputs()["y"])
    result = np.zeros_like(middle)
    with working("two slices bound to one array"):
        calls = (
            backend.load(first.model, device).bind(dict(first.inputs), {"y": middle}),
            backend.load(second.model, device).bind({"y": middle}, {"z": result}),
        )
        for call in calls:
            call()
    agree(device, result, second.outputs(y=first.outputs()["y"])["z"], "output of the second slice")


def check_device_buffers(backend: Backend, device: Device) -> None:
    """Check devices with their own memory: uploads arrive, slices share buffers, downloads wait."""
    with working("memory"):
        memory = backend.memory(device)
    if memory is None:
        return
    first, second = slices.chain(), slices.shift()
    shape, dtype = first.inputs["x"].shape, first.inputs["x"].dtype
    with working("device buffers"):
        start, middle, end = (memory.allocate(dtype, shape) for _ in range(3))
        calls = (
            backend.load(first.model, device).bind({"x": start}, {"y": middle}),
            backend.load(second.model, device).bind({"y": middle}, {"z": end}),
        )
        for factor in (1.0, -2.0):
            x = first.inputs["x"] * np.float32(factor)
            expected = second.outputs(y=first.outputs(x=x)["y"])["z"]
            staging = x.copy()
            start.upload(staging)
            staging[...] = 99  # upload has returned: the array may be changed
            for call in calls:
                call()
            result = np.zeros_like(x)
            end.download(result)
            agree(device, result, expected, "output downloaded from a device buffer")


def check_buffers_and_arrays_mix(backend: Backend, device: Device) -> None:
    """Check that a slice can read host arrays and write device buffers, and vice versa."""
    memory = backend.memory(device)
    if memory is None:
        return
    sample = slices.chain()
    x, y = sample.inputs["x"].copy(), np.zeros_like(sample.inputs["x"])
    with working("host arrays beside device buffers"):
        buffer = memory.allocate(x.dtype, x.shape)
        out = backend.load(sample.model, device).bind({"x": x}, {"y": buffer})
        back = backend.load(slices.shift().model, device).bind({"y": buffer}, {"z": y})
        for value in (1.0, 5.0):
            x[...] = value
            out()
            back()
            agree(device, y, slices.shift().outputs(y=sample.outputs(x=x)["y"])["z"], "output by way of a buffer")


def check_misfits_are_refused(backend: Backend, device: Device) -> None:
    """Check that places of wrong shape or type, and missing inputs, raise BackendError."""
    sample = slices.chain()
    runner = _load(backend, device, sample.model)
    x, y = sample.inputs["x"].copy(), np.zeros_like(sample.inputs["x"])
    with refusing("an output array that is too small"):
        runner.bind({"x": x}, {"y": np.zeros(3, np.float32)})()
    with refusing("an input array of another type"):
        runner.bind({"x": x.astype(np.int64)}, {"y": y})()
    with refusing("an array that is not contiguous"):
        runner.bind({"x": np.zeros((*x.shape, 2), x.dtype)[..., 0]}, {"y": y})()
    with refusing("a run without its input"):
        runner.run({})
    with refusing("a run on a wrong shape"):
        runner.run({"x": np.zeros((7, 7, 7), np.float32)})


def check_unknown_operators_are_refused(backend: Backend, device: Device) -> None:
    """Check that a slice with an unknown operator is refused, with a message that names the device."""
    with refusing("an operator of domain no.such.domain"):
        backend.load(slices.foreign(), device)
    try:
        backend.load(slices.foreign(), device)
    except BackendError as error:
        require(device.name in str(error), f"the refusal does not name the device: {error.message}")


def check_types_are_right_or_refused(backend: Backend, device: Device) -> None:
    """Check that every element type, and tensors without elements, are right or refused; integers wrap."""
    for sample in (*slices.types(), slices.empty()):
        try:
            outputs = backend.load(sample.model, device).run(sample.inputs)
        except BackendError:
            continue
        except Exception as error:
            raise NotConformingError(f"{sample.name}: raised {type(error).__name__}: {error}") from error
        for name, array in sample.outputs().items():
            agree(device, outputs[name], array, f"output {name} of {sample.name}")


def check_dynamic_shapes_are_right_or_refused(backend: Backend, device: Device) -> None:
    """Check that a slice with dynamic shapes gives right outputs at each size, or is refused."""
    for extent in (3, 8, 0):
        sample = slices.dynamic(extent)
        try:
            made = backend.load(sample.model, device).run(sample.inputs)["y"]
        except BackendError:
            continue
        except Exception as error:
            raise NotConformingError(f"dynamic shape: raised {type(error).__name__}: {error}") from error
        agree(device, made, sample.outputs()["y"], f"output at size {extent}")


def check_the_slice_is_left_as_it_is(backend: Backend, device: Device) -> None:
    """Check that ``load`` does not change the model."""
    model = slices.network().model
    before = model.model.SerializeToString(deterministic=True)
    _load(backend, device, model)
    require(model.model.SerializeToString(deterministic=True) == before, "load changed the model")


def check_external_weights(backend: Backend, device: Device) -> None:
    """Check that weights in a file of the slice's folder are read."""
    with TemporaryDirectory() as folder:
        sample = slices.external(folder)
        runner = _load(backend, device, sample.model)
        with working("run with external weights"):
            agree(device, runner.run(sample.inputs)["y"], sample.outputs()["y"], "output with external weights")
        runner.close()


def check_assignment(backend: Backend, device: Device) -> None:
    """Check that ``assignment`` is None, or names the provider of at least one node."""
    runner = _load(backend, device, slices.network().model)
    with working("assignment"):
        assignment = runner.assignment()
    if assignment is not None:
        require(assignment and all(assignment.values()), f"assignment is {dict(assignment)}")


def check_close(backend: Backend, device: Device) -> None:
    """Check that ``close`` can be called twice, that a closed runner refuses to run, and that others go on."""
    sample = slices.chain()
    runner, other = _load(backend, device, sample.model), _load(backend, device, sample.model)
    with working("close"):
        runner.close()
        runner.close()
    with refusing("a run after close"):
        runner.run(sample.inputs)
    with working("another runner after close"):
        agree(device, other.run(sample.inputs)["y"], sample.outputs()["y"], "output of the other runner")


def check_two_threads(backend: Backend, device: Device) -> None:
    """Check that two threads can call two runners at the same time."""
    bounds = [_bind(backend, device, sample) for sample in (slices.chain(), slices.network())]
    failures: list[BaseException] = []

    def repeat(call: Callable[[], None]) -> None:
        try:
            for _ in range(20):
                call()
        except BaseException as error:  # the check reports it
            failures.append(error)

    threads = [Thread(target=repeat, args=(bound.call,)) for bound in bounds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require(not failures, f"two threads: {failures[:1]}")
    for bound, sample in zip(bounds, (slices.chain(), slices.network()), strict=True):
        for name, array in sample.outputs().items():
            agree(device, bound.outputs[name], array, f"output {name} of {sample.name} beside another thread")


Check = Callable[[Backend, Device], None]
CHECKS: tuple[Check, ...] = (
    check_find_never_raises,
    check_claims_are_none_or_a_reason,
    check_outputs_are_right,
    check_run_keeps_arrays_apart,
    check_read_only_inputs_run,
    check_bound_call_runs_in_place,
    check_bound_call_reads_inputs_then,
    check_runs_and_bound_calls_mix,
    check_two_slices_share_an_array,
    check_device_buffers,
    check_buffers_and_arrays_mix,
    check_misfits_are_refused,
    check_unknown_operators_are_refused,
    check_types_are_right_or_refused,
    check_dynamic_shapes_are_right_or_refused,
    check_the_slice_is_left_as_it_is,
    check_external_weights,
    check_assignment,
    check_close,
    check_two_threads,
)
"""All checks, each a function of backend and device."""
