from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import BackendError, ModelError, UsageError
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.runtime.executor import open_program
from tests.unit.runtime.helpers import FakeBackend, diamond, open_fake, plan_of, slice_of

X = np.array([-1.0, 2.0, -3.0, 4.0], np.float32)
SCHEDULES = ("sequential", "concurrent")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("own", [set(), {"gpu"}, {"gpu", "npu"}, {"cpu", "gpu", "npu"}])
def test_slices_on_any_mix_of_memories_give_the_model_s_output(schedule: str, own: set[str]) -> None:
    backend = FakeBackend(own_memory=own)
    with open_fake(diamond(), ["cpu", "gpu", "npu", "cpu"], backend, schedule=schedule) as program:
        for scale in (1, -1, 3):
            np.testing.assert_array_equal(program.run({"x": X * scale})["y"], np.maximum(X * scale, 0))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("unbindable", [{"cpu"}, {"gpu"}, {"cpu", "gpu", "npu"}])
@pytest.mark.parametrize("own", [set(), {"gpu"}, {"cpu", "gpu"}])
def test_a_device_that_cannot_bind_is_handed_its_tensors(schedule: str, unbindable: set[str], own: set[str]) -> None:
    backend = FakeBackend(own_memory=own, unbindable=unbindable)
    with open_fake(diamond(), ["cpu", "gpu", "npu", "cpu"], backend, schedule=schedule) as program:
        assert len(program.handed_over) == sum(device in unbindable for device in program.device_names)
        for scale in (1, -1):
            np.testing.assert_array_equal(program.run({"x": X * scale})["y"], np.maximum(X * scale, 0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_tensors_of_free_shape_are_handed_over(schedule: str) -> None:
    slices = diamond("[N]")
    with open_fake(slices, ["cpu", "gpu", "npu", "cpu"], schedule=schedule) as program:
        assert len(program.handed_over) == 4
        for size in (1, 5):
            x = np.arange(-2, size - 2, dtype=np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], np.maximum(x, 0))


def test_a_tensor_that_is_handed_over_is_let_go_after_its_last_reader() -> None:
    slices = [
        slice_of("one (float[N] x) => (float[N] a) { a = Relu(x) }"),
        slice_of("two (float[N] a) => (float[N] b) { b = Neg(a) }"),
        slice_of("three (float[N] b) => (float[N] y) { y = Neg(b) }"),
    ]
    held: list[set[str]] = []
    backend = FakeBackend()
    program = open_fake(slices, ["cpu"] * 3, backend)
    backend.hook = lambda device: held.append(set(program._slot.program.values))
    program.run({"x": X})
    assert held == [{"x"}, {"a"}, {"b"}]
    assert not program._slot.program.values


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_outputs_belong_to_the_caller(schedule: str) -> None:
    with open_fake(diamond(), ["cpu", "gpu", "cpu", "gpu"], schedule=schedule) as program:
        first = program.run({"x": X})["y"]
        kept = first.copy()
        program.run({"x": -X})
        np.testing.assert_array_equal(first, kept)
        first[:] = 99
        np.testing.assert_array_equal(program.run({"x": X})["y"], kept)


def test_an_input_is_never_changed() -> None:
    x = X.copy()
    with open_fake(diamond(), ["cpu"] * 4) as program:
        program.run({"x": x})
    np.testing.assert_array_equal(x, X)


def test_an_input_written_in_place_is_read_anew_in_every_run() -> None:
    with open_fake(diamond(), ["cpu", "gpu", "cpu", "gpu"], FakeBackend(own_memory={"cpu"})) as program:
        place = program.place("x")
        assert place is not None
        for scale in (1, -1):
            place[:] = X * scale
            np.testing.assert_array_equal(program.run({"x": place})["y"], np.maximum(X * scale, 0))
        assert program.place("y") is None


def test_a_tensor_goes_to_a_device_once_and_comes_back_once() -> None:
    slices = [
        slice_of("one (float[4] x) => (float[4] a) { a = Relu(x) }"),
        slice_of("two (float[4] a) => (float[4] b) { b = Neg(a) }"),
        slice_of("three (float[4] a, float[4] b) => (float[4] y) { y = Add(a, b) }"),
    ]
    backend = FakeBackend(own_memory={"gpu"})
    with open_fake(slices, ["cpu", "gpu", "gpu"], backend) as program:
        _, trace = program.run_timed({"x": X})
    assert [(span.kind, span.name) for span in trace.spans] == [
        ("input", "inputs"),
        ("slice", "slice 0"),
        ("transfer", "a"),
        ("slice", "slice 1"),
        ("slice", "slice 2"),
        ("transfer", "y"),
        ("output", "outputs"),
    ]
    assert backend.log == ["upload", "download"]


def test_buffers_of_a_device_are_used_again_once_their_tensor_is_dead() -> None:
    names = ["x", "a", "b", "c", "d", "y"]
    slices = [
        slice_of(f"s{i} (float[4] {source}) => (float[4] {target}) {{ {target} = Neg({source}) }}")
        for i, (source, target) in enumerate(pairwise(names))
    ]
    backend = FakeBackend(own_memory={"gpu"})
    with open_fake(slices, ["gpu"] * 5, backend) as program:
        np.testing.assert_array_equal(program.run({"x": X})["y"], -X)
    assert len(backend.memories["gpu"].made) == 2


def test_a_type_that_a_device_s_memory_lacks_goes_through_the_host() -> None:
    backend = FakeBackend(own_memory={"gpu"}, refused_type="float32")
    with open_fake(diamond(), ["gpu"] * 4, backend) as program:
        np.testing.assert_array_equal(program.run({"x": X})["y"], np.maximum(X, 0))
        assert not program.handed_over


def test_the_whole_model_may_be_an_input_handed_through() -> None:
    with open_fake(diamond(), ["cpu"] * 4, outputs=("y", "x")) as program:
        given = X.copy()
        result = program.run({"x": given})
        np.testing.assert_array_equal(result["x"], X)
        assert not np.shares_memory(result["x"], given)


def test_the_only_slice_may_have_inputs_and_outputs_in_another_order_than_the_model() -> None:
    only = slice_of("net (float[4] b, float[4] a) => (float[4] z, float[4] y) { y = Sub(a, b)  z = Neg(b) }")
    with open_fake([only], ["cpu"], inputs=("a", "b"), outputs=("y", "z")) as program:
        result = program.run({"a": 2 * X, "b": X})
        assert list(result) == ["y", "z"]
        np.testing.assert_array_equal(result["y"], X)
        np.testing.assert_array_equal(result["z"], -X)


def test_an_input_that_no_slice_reads_is_still_asked_for() -> None:
    with open_fake(diamond(), ["cpu"] * 4, inputs=("x", "unused")) as program:
        np.testing.assert_array_equal(program.run({"x": X, "unused": X})["y"], np.maximum(X, 0))
        with pytest.raises(ModelError, match="unused is missing"):
            program.run({"x": X})


def test_inputs_are_checked_by_name_type_and_shape() -> None:
    with open_fake(diamond(), ["cpu"] * 4) as program:
        with pytest.raises(ModelError, match="x is missing; z is not an input"):
            program.run({"z": X})
        with pytest.raises(ModelError, match="z is not an input"):
            program.run({"x": X, "z": X})
        with pytest.raises(ModelError, match=r"input x is float64 \[4\]; the model was compiled for float32 \[4\]"):
            program.run({"x": X.astype(np.float64)})
        with pytest.raises(ModelError, match=r"float32 \[3\]"):
            program.run({"x": X[:3]})


def test_a_slice_that_makes_another_shape_than_the_model_says_is_an_error() -> None:
    slices = [
        slice_of("one (float[4] x) => (float[5] a) { a = Neg(x) }"),
        slice_of("two (float[5] a) => (float[5] y) { y = Neg(a) }"),
    ]
    backend = FakeBackend(unbindable={"odd"})
    with open_fake(slices, ["odd", "cpu"], backend) as program, pytest.raises(BackendError, match="tensor a of shape"):
        program.run({"x": X})


def test_a_tensor_that_nothing_makes_is_named() -> None:
    with pytest.raises(ModelError, match="slice 0 reads tensor x"):
        open_fake(diamond(), ["cpu"] * 4, inputs=("other",))
    with pytest.raises(ModelError, match="output q is made by no slice"):
        open_fake(diamond(), ["cpu"] * 4, outputs=("q",))
    with pytest.raises(ModelError, match="slice 0 reads tensor a"):
        open_fake(diamond()[1:] + diamond()[:1], ["cpu"] * 4)
    with pytest.raises(ModelError, match="made by slices 0 and 1"):
        open_fake([diamond()[0], diamond()[0]], ["cpu"] * 2, outputs=("a",))


def test_a_device_or_level_or_backend_that_is_not_here_is_named() -> None:
    slices, backends = diamond()[:1], {"fake": FakeBackend()}
    here = {"cpu": Device("cpu", backend="fake", levels=(Level("low"),)), "odd": Device("odd", backend="absent")}
    for state, message in (("gpu", "runs a slice on gpu"), ("cpu@high", "no level high"), ("odd", "backend 'absent'")):
        with pytest.raises(UsageError, match=message):
            open_program(slices, plan_of([state]), here, backends, inputs=["x"], outputs=["a"])


def test_a_slice_at_a_level_is_loaded_on_a_device_that_has_this_level_only() -> None:
    backend = FakeBackend()
    devices = {"cpu": Device("cpu", backend="fake", levels=(Level("low"), Level("high")))}
    open_program(diamond()[:1], plan_of(["cpu@high"]), devices, {"fake": backend}, inputs=["x"], outputs=["a"]).close()
    assert [level.name for level in backend.runners[0].device.levels] == ["high"]


def test_what_was_loaded_is_closed_when_a_later_slice_fails_to_load() -> None:
    backend = FakeBackend()
    slices = [*diamond()[:3], slice_of("unloadable (float[4] b, float[4] c) => (float[4] y) { y = Add(b, c) }")]
    with pytest.raises(BackendError, match="unloadable"):
        open_fake(slices, ["cpu"] * 4, backend)
    assert [runner.closed for runner in backend.runners] == [1, 1, 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_closing_twice_is_harmless_and_a_failed_run_can_be_followed_by_a_good_one(schedule: str) -> None:
    backend = FakeBackend(failing={"gpu"})
    program = open_fake(diamond(), ["cpu", "gpu", "cpu", "gpu"], backend, schedule=schedule)
    with pytest.raises(BackendError, match="gpu is broken"):
        program.run({"x": X})
    backend.failing.clear()
    np.testing.assert_array_equal(program.run({"x": X})["y"], np.maximum(X, 0))
    program.close()
    program.close()
    assert [runner.closed for runner in backend.runners] == [1] * 4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_on_onnx_runtime_slices_share_memory_and_give_the_same_bits(schedule: str) -> None:
    devices = {
        "a": Device("a", backend="onnxruntime", options={"threads": 1}),
        "b": Device("b", backend="onnxruntime", options={"threads": 1, "cores": str(usable_cores()[0])}),
    }
    plan = plan_of(["a", "b", "a", "b"], schedule)
    shape = "[64, 64]"
    with open_program(diamond(shape), plan, devices, {"onnxruntime": BACKEND}, inputs=["x"], outputs=["y"]) as program:
        assert not program.handed_over
        for seed in range(3):
            x = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
            np.testing.assert_array_equal(program.run({"x": x})["y"], np.maximum(x, 0))


def test_on_onnx_runtime_scalars_empty_tensors_and_strings_pass() -> None:
    slices = [
        slice_of("one (float x, float[0, 3] e, string[2] s) => (float a, float[0, 3] f, string[2] t) "
                 "{ a = Neg(x)\n f = Neg(e)\n t = Identity(s) }"),
        slice_of("two (float a, float[0, 3] f, string[2] t) => (float y, float[0, 3] g, string[2] u) "
                 "{ y = Neg(a)\n g = Neg(f)\n u = Identity(t) }"),
        slice_of("three (float y, float[0, 3] g) => (float z, float[0, 3] h) { z = Neg(y)\n h = Neg(g) }"),
    ]  # fmt: skip
    devices = {"cpu": Device("cpu", backend="onnxruntime", options={"threads": 1})}
    inputs = {"x": np.float32(2).reshape(()), "e": np.empty((0, 3), np.float32), "s": np.array(["p", "q"], object)}
    with open_program(
        slices, plan_of(["cpu"] * 3), devices, {"onnxruntime": BACKEND}, inputs=list(inputs), outputs=["z", "h", "u"]
    ) as program:
        assert set(program.handed_over) == {0, 1}
        outputs = program.run(inputs)
    assert outputs["z"] == -2
    assert outputs["h"].shape == (0, 3)
    assert outputs["u"].tolist() == ["p", "q"]
