from __future__ import annotations

import os
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError
from tests.unit.backends.helpers import slice_of, unary

CPU = Device("cpu", backend="onnxruntime")
MLP = """<ir_version: 10, opset_import: ["": 21]>
mlp (float[2,3] x, float[3,4] w) => (float[2,4] y, float[2,4] h) { [mul] h = MatMul(x, w) [act] y = Relu(h) }"""


def test_the_cpu_is_found() -> None:
    found = BACKEND.find()
    assert found.devices[0].name == "cpu"
    assert found.versions["onnxruntime"]


def test_run_returns_every_output() -> None:
    x, w = np.full((2, 3), -1.0, np.float32), np.ones((3, 4), np.float32)
    outputs = BACKEND.load(slice_of(MLP), CPU).run({"x": x, "w": w})
    np.testing.assert_array_equal(outputs["h"], np.full((2, 4), -3.0))
    np.testing.assert_array_equal(outputs["y"], np.zeros((2, 4)))


def test_a_bound_call_reads_the_inputs_as_they_are_then_and_writes_in_place() -> None:
    runner = BACKEND.load(unary("Neg"), CPU)
    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    call = runner.bind({"x": x}, {"y": y})
    for value in (1.0, 2.0):
        x[:] = value
        call()
        np.testing.assert_array_equal(y, np.full((2, 3), -value))


def test_two_bound_slices_share_one_array_without_a_copy() -> None:
    x, between, y = (np.zeros((2, 3), np.float32) for _ in range(3))
    first = BACKEND.load(unary("Neg"), CPU).bind({"x": x}, {"y": between})
    second = BACKEND.load(unary("Relu"), CPU).bind({"x": between}, {"y": y})
    x[:] = -5
    first()
    second()
    np.testing.assert_array_equal(y, np.full((2, 3), 5.0))


@pytest.mark.parametrize(
    ("type_name", "dtype"),
    [
        ("bfloat16", ml_dtypes.bfloat16),
        ("float8e4m3fn", ml_dtypes.float8_e4m3fn),
        ("float8e5m2", ml_dtypes.float8_e5m2),
        ("float16", np.float16),
        ("double", np.float64),
        ("bool", np.bool_),
        ("uint8", np.uint8),
        ("int64", np.int64),
    ],
)
def test_every_flat_type_runs_and_binds(type_name: str, dtype: type) -> None:
    runner = BACKEND.load(unary("Identity", type_name), CPU)
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    np.testing.assert_array_equal(runner.run({"x": x})["y"], x)
    y = np.zeros_like(x)
    runner.bind({"x": x}, {"y": y})()
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(("type_name", "dtype"), [("int4", ml_dtypes.int4), ("uint4", ml_dtypes.uint4)])
def test_four_bit_tensors_run_unpacked_and_do_not_bind(type_name: str, dtype: type) -> None:
    model = slice_of(
        f'<ir_version: 10, opset_import: ["": 21]> cast (float[5] x) => ({type_name}[5] y) '
        f"{{ y = Cast<to = {onnx.TensorProto.DataType.Value(type_name.upper())}>(x) }}"
    )
    runner = BACKEND.load(model, CPU)
    x = np.array([1, 7, 3, 0, 5], np.float32) * (-1 if type_name == "int4" else 1)
    y = runner.run({"x": x})["y"]
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(np.float32), x)
    with pytest.raises(BackendError, match="'y' cannot be bound"):
        runner.bind({"x": x}, {"y": y})


def test_strings_run_and_do_not_bind() -> None:
    runner = BACKEND.load(unary("Identity", "string", "[2]"), CPU)
    x = np.array(["cut", "here"], object)
    assert runner.run({"x": x})["y"].tolist() == ["cut", "here"]
    with pytest.raises(BackendError, match="'x' cannot be bound"):
        runner.bind({"x": x}, {"y": x})


def test_a_tensor_without_elements_runs_and_binds() -> None:
    runner = BACKEND.load(unary("Relu", shape="[n]"), CPU)
    x, y = np.zeros(0, np.float32), np.zeros(0, np.float32)
    runner.bind({"x": x}, {"y": y})()
    assert runner.run({"x": x})["y"].shape == (0,)


def test_an_optional_output_that_holds_nothing_is_none() -> None:
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 18]> maybe (float[1] x) => (optional(float[1]) z, float[1] y) '
        "{ z = Optional<type = float[1]>() y = Neg(x) }"
    )
    assert BACKEND.load(model, CPU).run({"x": np.ones(1, np.float32)})["z"] is None


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        (np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32), r"'x' has shape \[2, 3\], not \[2, 4\]"),
        (np.zeros((2, 3), np.float64), np.zeros((2, 3), np.float32), "'x' is not of type float64"),
        (np.zeros((3, 2), np.float32).T, np.zeros((2, 3), np.float32), "not contiguous"),
    ],
)
def test_places_that_do_not_fit_are_refused(x: np.ndarray, y: np.ndarray, complaint: str) -> None:
    with pytest.raises(BackendError, match=complaint):
        BACKEND.load(unary("Neg"), CPU).bind({"x": x}, {"y": y})


def test_a_failure_names_slice_and_device() -> None:
    runner = BACKEND.load(unary("Neg"), CPU)
    with pytest.raises(BackendError, match="slice 'neg' on cpu: input 'x' is missing"):
        runner.run({})
    with pytest.raises(BackendError, match=r"slice 'neg' on cpu: .*Got invalid dimensions"):
        runner.run({"x": np.zeros((7, 3), np.float32)})


def test_an_operator_that_nobody_implements_is_refused_by_name() -> None:
    with pytest.raises(BackendError, match=r"on cpu: .*my\.domain:Foo"):
        BACKEND.load(
            slice_of(
                '<ir_version: 10, opset_import: ["": 21, "my.domain": 1]> foreign (float[1] x) => (float[1] y) '
                "{ y = my.domain.Foo(x) }"
            ),
            CPU,
        )


def test_the_assignment_names_every_node_even_those_without_a_name() -> None:
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 21]> pair (float[1] x) => (float[1] y) { [first] a = Exp(x) y = Neg(a) }'
    )
    before = model.model.SerializeToString()
    assignment = BACKEND.load(model, CPU).assignment()
    assert assignment == {"first": "CPUExecutionProvider", "%y": "CPUExecutionProvider"}
    assert model.model.SerializeToString() == before


def test_a_closed_runner_says_so() -> None:
    runner = BACKEND.load(unary("Neg"), CPU)
    runner.close()
    runner.close()
    with pytest.raises(BackendError, match="it was closed"):
        runner.run({"x": np.zeros((2, 3), np.float32)})


def test_weights_are_read_from_the_slices_folder(tmp_path: Path) -> None:
    weights = np.arange(6, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(weights.tobytes())
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 21]> heavy (float[6] x, float[6] w) => (float[6] y) { y = Add(x, w) }'
    ).model
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[6], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", "offset": "0", "length": "24"}.items():
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    del model.graph.input[1]
    runner = BACKEND.load(SliceModel(model, str(tmp_path), ("x",), ("y",)), CPU)
    np.testing.assert_array_equal(runner.run({"x": np.ones(6, np.float32)})["y"], weights + 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin threads")
def test_a_pinned_device_leaves_the_callers_cores_as_they_were() -> None:
    core = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    runner = BACKEND.load(unary("Neg"), Device("little", backend="onnxruntime", options={"cores": str(core)}))
    x, y = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    runner.bind({"x": x}, {"y": y})()
    np.testing.assert_array_equal(y, -x)
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_the_threads_of_a_pinned_device_stay_on_its_cores() -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("one core is usable here, a second thread has none of its own")
    before = set(os.listdir("/proc/self/task"))
    runner = BACKEND.load(unary("Neg"), Device("big", options={"cores": f"{cores[0]},{cores[1]}"}))
    runner.run({"x": np.zeros((2, 3), np.float32)})
    deadline = time.monotonic() + 10.0
    held: list[set[int]] = []
    while {cores[1]} not in held and time.monotonic() < deadline:  # a thread moves itself once it runs
        made = set(os.listdir("/proc/self/task")) - before
        held = [os.sched_getaffinity(int(thread)) for thread in made]
    assert {cores[1]} in held
    runner.close()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"thread": 1}, "option 'thread' is unknown"),
        ({"threads": 0}, "threads = 0"),
        ({"threads": "two"}, "threads = 'two' is not of type int"),
        ({"cores": "99999"}, "core 99999 is not one that this process may use"),
        ({"cores": "big"}, "not a list of core numbers"),
        ({"cores": "0", "threads": 2}, "2 threads on 1 cores"),
        ({"optimisation": "most"}, "optimisation = 'most' is unknown"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        BACKEND.load(unary("Neg"), Device("cpu", backend="onnxruntime", options=options))  # type: ignore[arg-type]


def test_optimisation_can_be_switched_off() -> None:
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 21]> chain (float[1] x) => (float[1] y) '
        "{ [a] p = Identity(x) [b] q = Identity(p) [c] y = Neg(q) }"
    )
    plain = BACKEND.load(model, Device("cpu", options={"optimisation": "disabled"})).assignment()
    assert plain is not None
    assert set(plain) == {"a", "b", "c"}
