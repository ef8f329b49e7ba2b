"""Execution providers as devices: found without harm, legal slices, memory of their own, refusals by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.conformance.suite import check_backend
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.backends.onnxruntime.cuda import nvidia_gpus
from mosaic_onnx.backends.onnxruntime.memory import memory_of_type
from mosaic_onnx.backends.onnxruntime.options import read_options
from mosaic_onnx.backends.onnxruntime.plugins import Plugins
from mosaic_onnx.backends.onnxruntime.provider_facts import PLUGIN_DEVICES
from mosaic_onnx.backends.onnxruntime.runner import OrtRunner
from mosaic_onnx.backends.onnxruntime.session import make_session, stdout_kept_clean, thread_affinities
from mosaic_onnx.backends.probe import probe
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.files.device_file import devices_from_toml, devices_to_toml
from tests.unit.backends.helpers import slice_of, unary

QNN, WEBGPU = PLUGIN_DEVICES
SUM = '<ir_version: 8, opset_import: ["": 17]> three (float[4] a, float[4] b, float[4] c) => (float[4] y) {{ {} }}'


def plugin(package: str, **options: str) -> Device:
    return Device("npu", backend="onnxruntime", options={"provider": "VendorProvider", "package": package, **options})


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python package of a vendor, to be filled; children find it too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "vendor_package.py"


ADDRESS = "mosaic_onnx.backends.onnxruntime.backend:BACKEND"


def test_what_is_not_installed_is_absent_with_the_command_that_installs_it() -> None:
    (verdict,) = probe(ADDRESS, [plugin("no_such_package")])
    assert verdict.reason == "Python package no_such_package is not installed (pip install no-such-package)"


def test_a_provider_that_crashes_takes_only_its_trial_with_it(vendor: Path) -> None:
    vendor.write_text("import os\ndef get_library_path():\n    os.abort()\n")
    (verdict,) = probe(ADDRESS, [plugin("vendor_package")])
    assert verdict.reason.startswith("its trial ended with signal 6")


def test_a_provider_that_hangs_is_given_up(vendor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.write_text("import time\ndef get_library_path():\n    time.sleep(60)\n")
    monkeypatch.setattr("mosaic_onnx.backends.probe._TIME_LIMIT_S", 1.0)
    (verdict,) = probe(ADDRESS, [plugin("vendor_package")])
    assert verdict.reason == "it gave no answer within 1 s"


def test_a_vendors_chatter_does_not_spoil_the_verdict(vendor: Path) -> None:
    vendor.write_text("import os\ndef get_library_path():\n    os.write(1, b'hello')\n    return 'nowhere.so'\n")
    (verdict,) = probe(ADDRESS, [plugin("vendor_package")])
    assert "nowhere.so cannot be loaded" in verdict.reason


def test_a_library_that_cannot_be_loaded_is_named() -> None:
    device = Device("npu", options={"provider": "VendorProvider", "library": "/nowhere/libvendor.so"})
    with pytest.raises(BackendError, match=r"VendorProvider: /nowhere/libvendor\.so cannot be loaded"):
        BACKEND.load(unary("Neg"), device)


def test_a_provider_that_is_not_built_in_is_refused_and_nothing_else_steps_in() -> None:
    with pytest.raises(BackendError, match="on gpu: provider CUDAExecutionProvider is not built into"):
        BACKEND.load(unary("Neg"), Device("gpu", options={"provider": "CUDAExecutionProvider"}))


def test_a_gpu_that_is_not_here_is_absent_with_the_reason() -> None:
    options = {"provider": "CUDAExecutionProvider", "provider_options.device_id": "99"}
    (verdict,) = probe(ADDRESS, [Device("cuda", backend="onnxruntime", options=options)])
    assert verdict.reason.startswith("" if nvidia_gpus() else "no NVIDIA GPU with a driver (nvidia-smi finds none): ")
    assert "CUDAExecutionProvider" in verdict.reason or "CPU EP" in verdict.reason or "CUDA" in verdict.reason
    found = BACKEND.find()
    assert "cuda" in {each.name for each in (*found.devices, *found.absent)}


def test_first_options_stay_for_the_process() -> None:
    plugins = Plugins()
    plugins.claim_options(read_options(QNN))
    plugins.claim_options(read_options(QNN))
    other = Device("npu", options={**QNN.options, "provider_options.soc_model": "43"})
    with pytest.raises(UsageError, match="keeps the provider options of its first session"):
        plugins.claim_options(read_options(other))


def test_what_vendors_print_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with stdout_kept_clean():
        os.write(1, b"chatter\n")
    os.write(1, b"result\n")
    assert capfd.readouterr() == ("result\n", "chatter\n")


def test_thread_affinities_count_from_one_and_leave_the_caller_out() -> None:
    assert thread_affinities((4, 5, 6), 3) == "6;7"


def test_the_entries_of_shipped_plugins_survive_a_devices_file() -> None:
    assert devices_from_toml(devices_to_toml(PLUGIN_DEVICES)) == PLUGIN_DEVICES


def test_claims_of_known_providers_need_no_library() -> None:
    node = onnx.helper.make_node("NonZero", ["x"], ["y"])
    assert "no kernel" in (BACKEND.supports(node, WEBGPU) or "")
    assert "HTP" in (BACKEND.supports(node, QNN) or "")
    assert BACKEND.supports(onnx.helper.make_node("Relu", ["x"], ["y"]), QNN) is None


@pytest.mark.parametrize(
    ("attributes", "taken"),
    [
        ({"kernel_shape": [3, 3]}, True),
        ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, True),
        ({"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}, False),
        ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, False),
        ({"kernel_shape": [3, 3], "ceil_mode": 1}, False),
        ({"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}, False),
        ({"kernel_shape": [3, 3], "auto_pad": "VALID"}, True),
    ],
)
def test_qnn_is_given_no_pool_that_it_gets_wrong(attributes: dict[str, object], taken: bool) -> None:
    node = onnx.helper.make_node("AveragePool", ["x"], ["y"], **attributes)  # type: ignore[arg-type]
    assert (BACKEND.supports(node, QNN) is None) == taken


def test_a_slice_that_a_provider_would_crash_at_does_not_reach_it() -> None:
    model = slice_of(
        '<ir_version: 8, opset_import: ["": 17]> edge (float[1,1,6,6] x) => (float[1,1,6,6] y) '
        '{ [p] y = AveragePool<kernel_shape = [3,3], auto_pad = "SAME_UPPER">(x) }'
    )
    absent = Device("npu", options={**QNN.options, "package": "no_such_package"})
    with pytest.raises(BackendError, match="slice 'edge' on npu: node 'p': AveragePool: QNN crashes"):
        BACKEND.load(model, absent)


def test_memory_of_a_built_in_provider_conforms() -> None:
    check_backend(BACKEND, Device("cpu", backend="onnxruntime", options={"own_memory": "cpu", "threads": 1}))


def test_a_buffer_refuses_what_does_not_fit() -> None:
    buffer = memory_of_type("cpu", "cpu", 0).allocate(np.dtype(np.float32), (2, 3))
    for array in (np.zeros((3, 2), np.float32), np.zeros((2, 3)), np.zeros((2, 6), np.float32)[:, ::2]):
        with pytest.raises(BackendError, match="does not fit a buffer of float32"):
            buffer.upload(array)
    with pytest.raises(BackendError, match="cannot lie in its memory"):
        memory_of_type("cpu", "cpu", 0).allocate(np.dtype(object), (1,))


def test_a_buffer_of_another_device_cannot_be_bound() -> None:
    foreign = memory_of_type("gpu", "cpu", 0).allocate(np.dtype(np.float32), (2, 3))
    with pytest.raises(BackendError, match="'x' is bound to a buffer of another device"):
        BACKEND.load(unary("Neg"), Device("cpu")).bind({"x": foreign}, {"y": np.zeros((2, 3), np.float32)})


@pytest.mark.provider("webgpu")
def test_webgpu_runs_every_node_itself() -> None:
    runner = BACKEND.load(slice_of(SUM.format("[s] t = Add(a, b) [r] y = Mul(t, c)")), WEBGPU)
    assert set((runner.assignment() or {}).values()) == {"WebGpuExecutionProvider"}


@pytest.mark.provider("webgpu")
def test_webgpu_takes_a_sum_as_additions_and_refuses_it_as_it_is() -> None:
    model = slice_of(SUM.format("[s] y = Sum(a, b, c)"))
    feed = {name: np.full(4, value, np.float32) for name, value in zip("abc", (1, 2, 4), strict=True)}
    np.testing.assert_array_equal(BACKEND.load(model, WEBGPU).run(feed)["y"], np.full(4, 7))
    plain = Device("webgpu", options={**WEBGPU.options, "legalise": False})
    with pytest.raises(BackendError, match="assigned to the default CPU EP"):
        BACKEND.load(model, plain)


@pytest.mark.provider("webgpu")
def test_webgpu_takes_the_softmax_of_old_operator_sets() -> None:
    model = slice_of(
        '<ir_version: 8, opset_import: ["": 9]> old (float[1,8,1,1] x) => (float[1,8,1,1] y) { y = Softmax(x) }'
    )
    y = BACKEND.load(model, WEBGPU).run({"x": np.zeros((1, 8, 1, 1), np.float32)})["y"]
    np.testing.assert_allclose(y, np.full((1, 8, 1, 1), 0.125), rtol=1e-6)


@pytest.mark.provider("webgpu")
def test_what_webgpu_wants_on_the_host_is_read_when_the_slice_runs() -> None:
    model = slice_of(
        '<ir_version: 8, opset_import: ["": 17]> reshape (float[6] x, int64[2] shape) => (float[a,b] y) '
        "{ y = Reshape(x, shape) }"
    )
    memory = BACKEND.memory(WEBGPU)
    assert memory is not None
    x, shape = np.arange(6, dtype=np.float32), np.array([2, 3], np.int64)
    places = memory.allocate(x.dtype, x.shape), memory.allocate(shape.dtype, shape.shape)
    for place, array in zip(places, (x, shape), strict=True):
        place.upload(array)
    y = memory.allocate(x.dtype, (3, 2))
    call = BACKEND.load(model, WEBGPU).bind({"x": places[0], "shape": places[1]}, {"y": y})
    places[1].upload(np.array([3, 2], np.int64))
    call()
    result = np.zeros((3, 2), np.float32)
    y.download(result)
    np.testing.assert_array_equal(result, x.reshape(3, 2))


@pytest.mark.provider("webgpu")
def test_a_provider_whose_memory_nobody_named_reads_its_inputs_when_it_runs() -> None:
    options = read_options(WEBGPU)
    session = make_session(unary("Neg", opset=17), options, BACKEND.plugins.devices(options))
    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    call = OrtRunner(session, "neg on webgpu").bind({"x": x}, {"y": y})
    for value in (1.0, 2.0):
        x[:] = value
        call()
        np.testing.assert_array_equal(y, np.full((2, 3), -value))


@pytest.mark.provider("webgpu")
def test_many_calls_are_enqueued_and_one_download_waits_for_all() -> None:
    memory = BACKEND.memory(WEBGPU)
    assert memory is not None
    start, end = (memory.allocate(np.dtype(np.float32), (2, 3)) for _ in range(2))
    start.upload(np.ones((2, 3), np.float32))
    runner = BACKEND.load(unary("Neg", opset=17), WEBGPU)
    there, back = runner.bind({"x": start}, {"y": end}), runner.bind({"x": end}, {"y": start})
    for _ in range(50):
        there()
        back()
    there()
    result = np.zeros((2, 3), np.float32)
    end.download(result)
    np.testing.assert_array_equal(result, np.full((2, 3), -1.0))


@pytest.mark.provider("qnn")
def test_qnn_runs_every_node_itself_in_16_bits() -> None:
    model = slice_of(SUM.format("[s] t = Add(a, b) [r] y = Mul(t, c)"))
    runner = BACKEND.load(model, QNN)
    assert set((runner.assignment() or {}).values()) == {"QNNExecutionProvider"}
    feed = {name: np.full(4, value, np.float32) for name, value in zip("abc", (1, 2**-12, 1), strict=True)}
    assert abs(runner.run(feed)["y"][0] - 1.0) < 2**-13  # in 32 bits it would be 1 + 2**-12


@pytest.mark.provider("qnn")
def test_qnn_refuses_integer_sums_that_it_would_saturate() -> None:
    with pytest.raises(BackendError, match="saturates integers where ONNX wraps them"):
        BACKEND.load(unary("Neg", "int64", opset=17), QNN)


@pytest.mark.provider("qnn")
def test_qnn_is_given_no_tensor_without_elements_at_which_it_would_crash() -> None:
    with pytest.raises(BackendError, match=r"on qnn: .*crashes at tensors without elements \('x'\)"):
        BACKEND.load(unary("Relu", shape="[0,4]", opset=17), QNN)


@pytest.mark.provider("qnn")
def test_a_second_configuration_of_qnn_is_refused_in_one_process() -> None:
    BACKEND.load(unary("Relu", opset=17), QNN)
    other = Device("npu", options={**QNN.options, "provider_options.soc_model": "43"})
    with pytest.raises(UsageError, match="keeps the provider options of its first session"):
        BACKEND.load(unary("Relu", opset=17), other)


@pytest.mark.provider("qnn")
@pytest.mark.provider("webgpu")
def test_simulators_and_software_drivers_are_called_simulated() -> None:
    devices = {device.name: device for device in BACKEND.find().devices}
    assert devices["qnn"].simulated
    assert devices["webgpu"].simulated
    assert devices["qnn"].precision == "f16"
    assert not devices["cpu"].simulated
