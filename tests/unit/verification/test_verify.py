from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mosaic_onnx.backends.base import Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from tests.unit.verification.helpers import CPU, OtherBackend, changed, cut, typed, verified

CONVOLUTIONS = """cnn (float[1, 2, 6, 6] x) => (float[1, 2, 6, 6] y)
    <float[2, 2, 1, 1] w = {1, -0.5, 0.25, 2}, float[2, 2, 1, 1] v = {0.3, 1, -1, 0.7}> {
    a = Conv(x, w)
    b = Relu(a)
    c = Conv(b, v)
    d = Add(c, b)
    y = Sigmoid(d) }"""


def test_a_right_partition_is_equal_bit_for_bit() -> None:
    model = typed(CONVOLUTIONS)
    report = verified(model, cut(model, 2, 2))
    assert report.passed
    assert report.failures == ()
    assert [check.verdict for one in report.slices for check in one.cut] == ["equal"] * len(
        [name for one in report.slices for name in one.cut]
    )
    assert report.reference == "ONNX Runtime"
    assert [one.providers for one in report.slices] != [None] * 3
    assert report.worst is not None
    assert report.worst.tensor == "y"


def _scale_weight(graph: onnx.GraphProto) -> None:
    tensor = graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.0001), tensor.name))


def _swap_operator(graph: onnx.GraphProto) -> None:
    node = next(node for node in graph.node if node.op_type in ("Relu", "Add", "Sigmoid"))
    node.op_type = {"Relu": "Abs", "Add": "Sub", "Sigmoid": "Tanh"}[node.op_type]


def _drop_convolution(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type == "Conv":
            node.op_type, node.input[:] = "Identity", [node.input[0]]


@pytest.mark.parametrize(
    ("place", "change"),
    [(0, _scale_weight), (1, _scale_weight), (0, _swap_operator), (1, _swap_operator), (1, _drop_convolution)],
)
def test_a_broken_slice_is_found_and_named(place: int, change: Callable[[onnx.GraphProto], None]) -> None:
    model = typed(CONVOLUTIONS)
    slices = cut(model, 2)
    slices[place] = changed(slices[place], change)
    report = verified(model, slices)
    assert not report.passed
    assert [one.slice for one in report.slices if not one.is_good] == [place]
    assert report.failures[0].startswith(f"slice {place}: the cut changes ")


def test_a_slice_of_another_shape_is_found() -> None:
    model = typed("g (float[2, 3] x) => (float[3, 2] y) { a = Relu(x)\n b = Transpose(a)\n y = Neg(b) }")
    slices = cut(model, 1)

    def drop_transpose(graph: onnx.GraphProto) -> None:
        graph.node[0].op_type = "Identity"
        graph.output[0].type.tensor_type.ClearField("shape")

    slices[1] = changed(slices[1], drop_transpose)
    report = verified(model, slices)
    assert "its shape is [2, 3], not [3, 2]" in " ".join(report.failures)


def test_a_device_that_computes_wrongly_is_told_from_a_wrong_cut() -> None:
    model = typed(CONVOLUTIONS)
    device = replace(CPU, name="odd", backend="other")
    report = verified(model, cut(model, 2), device=device, backend=OtherBackend(_scaled))
    assert not report.passed
    assert all(check.is_good for one in report.slices for check in one.cut)
    assert any("odd computes" in text for text in report.failures)


def _scaled(one: SliceModel) -> SliceModel:
    def change(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))

    return changed(one, change)


@pytest.mark.parametrize(("precision", "passes"), [("f32", False), ("f16", False), ("bf16", True)])
def test_the_device_s_precision_sets_what_it_may_be_off_by(precision: str, passes: bool) -> None:
    model = typed("g (float[8] x) => (float[8] y) <float k = {1.0}> { a = Mul(x, k)\n y = Neg(a) }")
    device = replace(CPU, name="odd", backend="other", precision=precision)
    report = verified(model, cut(model, 1), device=device, backend=OtherBackend(_scaled))
    assert any(check.verdict == "within" for check in report.outputs) is passes


def test_a_tolerance_that_is_given_replaces_the_precision_s() -> None:
    model = typed("g (float[8] x) => (float[8] y) <float k = {1.0}> { a = Mul(x, k)\n y = Neg(a) }")
    device = replace(CPU, name="odd", backend="other")
    for tolerance, passes in ((0.02, True), (0.005, False)):
        report = verified(model, cut(model, 1), device=device, backend=OtherBackend(_scaled), tolerance=tolerance)
        assert report.passed is passes


def test_random_operators_are_named_and_what_comes_after_them_is_not_compared() -> None:
    model = typed(
        "g (float[64] x) => (float[64] y, float[64] z) { r = RandomNormalLike(x)\n y = Add(r, x)\n z = Neg(x) }"
    )
    report = verified(model, cut(model, 1, 1))
    assert report.passed
    verdicts = {check.tensor: check.verdict for check in report.outputs}
    assert verdicts == {"y": "random", "z": "equal"}
    assert any("RandomNormalLike" in text for text in report.explained)
    adding = report.slices[1]
    assert [check.verdict for check in adding.cut] == ["equal"]  # fed with the reference's own random tensor


def test_an_integer_output_must_be_equal() -> None:
    model = typed("g (float[1, 9] x) => (int64[1, 1] y) <float k = {1.0}> { a = Mul(x, k)\n y = ArgMax<axis = 1>(a) }")
    assert verified(model, cut(model, 1)).passed
    device = replace(CPU, name="odd", backend="other")

    def reversed_order(one: SliceModel) -> SliceModel:
        def change(graph: onnx.GraphProto) -> None:
            for node in graph.node:
                node.op_type = {"ArgMax": "ArgMin"}.get(node.op_type, node.op_type)

        return changed(one, change)

    report = verified(model, cut(model, 1), device=device, backend=OtherBackend(reversed_order))
    assert "1 of 1 elements differ (must be equal)" in " ".join(report.failures)


def test_a_tie_that_rounding_decides_is_explained_and_not_hidden() -> None:
    model = typed("g (float[1, 2] x) => (int64[1, 1] y) <float k = {1.0}> { a = Mul(x, k)\n y = ArgMax<axis = 1>(a) }")
    device = replace(CPU, name="odd", backend="other")

    def tilted(one: SliceModel) -> SliceModel:
        def change(graph: onnx.GraphProto) -> None:
            for tensor in graph.initializer:
                tilt = np.array([[1.0, 1.0000002]], np.float32)
                tensor.CopyFrom(numpy_helper.from_array(tilt, tensor.name))

        return changed(one, change)

    tie = {"x": np.ones((1, 2), np.float32)}
    report = verified(model, cut(model, 1), device=device, backend=OtherBackend(tilted), inputs=tie)
    assert report.passed
    assert any("output y: 1 of 1 elements differ (ill-conditioned" in text for text in report.explained)


def test_half_precision_slices_are_compared_with_the_cuts_roundings_and_so_to_the_bit() -> None:
    rows = "\n".join(
        f"c{i} = Conv(x{i}, w)\n r{i} = Relu(c{i})\n p{i} = Concat<axis = 1>(r{i}, r{i})\n x{i + 1} = Conv(p{i}, v)"
        for i in range(3)
    )
    model = typed(f"g (float16[1, 3, 5, 5] x0, float16[3, 3, 1, 1] w, float16[3, 6, 1, 1] v) => (float16[1, 3, 5, 5] y)"
                  f"{{ {rows}\n y = Sigmoid(x3) }}")  # fmt: skip
    for lengths in ((2,), (3, 4), (1, 1, 1, 1), (5, 1, 3)):
        report = verified(model, cut(model, *lengths))
        assert report.passed, report.failures
        assert {check.verdict for one in report.slices for check in one.cut} == {"equal"}
        spoiled = cut(model, *lengths)
        spoiled[-1] = changed(spoiled[-1], _swap_operator)
        assert not verified(model, spoiled).passed


def test_quantised_values_may_be_a_step_off_and_no_more() -> None:
    model = typed(
        """g (float[8] x) => (float[8] y) <float s = {0.5}, uint8 z = {128}, float k = {1.0}> {
        a = Mul(x, k)
        q = QuantizeLinear(a, s, z)
        y = DequantizeLinear(q, s, z) }"""
    )
    device = replace(CPU, name="odd", backend="other")
    inputs = {"x": np.array([0.24, 0.26, 1.0, -3, 5, 7, 20, -20], np.float32)}

    def by(factor: float) -> OtherBackend:
        def spoil(one: SliceModel) -> SliceModel:
            def change(graph: onnx.GraphProto) -> None:
                for tensor in graph.initializer:
                    if tensor.name == "k":
                        tensor.CopyFrom(numpy_helper.from_array(np.float32(factor), "k"))

            return changed(one, change)

        return OtherBackend(spoil)

    for factor, passes in ((1.02, True), (1.2, False)):
        report = verified(model, cut(model), device=device, backend=by(factor), inputs=inputs)
        assert report.passed is passes, report


def test_a_node_on_another_provider_is_named() -> None:
    model = typed(CONVOLUTIONS)
    npu = replace(CPU, name="npu", options={"threads": 1, "provider": "NpuExecutionProvider"})

    class Fallback(OtherBackend):
        name = "onnxruntime"

        def load(self, model: SliceModel, device: Device) -> Runner:
            return super().load(model, CPU)

    report = verified(model, cut(model, 2), device=npu, backend=Fallback(lambda one: one))
    assert not report.passed
    assert "nodes do not run on npu" in report.failures[0]


def test_without_a_kernel_in_onnx_runtime_the_evaluator_proves_the_cut() -> None:
    model = typed(
        "g (double[4] x) => (double[4] y) { a = Neg(x)\n b = Cast<to = 1>(a)\n c = Cast<to = 11>(b)\n y = Atan(c) }"
    )
    device = replace(CPU, name="odd", backend="other")

    def in_float(one: SliceModel) -> SliceModel:
        def change(graph: onnx.GraphProto) -> None:
            for node in list(graph.node):
                if node.op_type == "Atan":
                    node.input[0], output = "narrow", node.output[0]
                    node.output[0] = "wide"
                    graph.node.insert(0, helper.make_node("Cast", ["c"], ["narrow"], to=1))
                    graph.node.append(helper.make_node("Cast", ["wide"], [output], to=11))

        return changed(one, change)

    slices = cut(model, 3)
    report = verified(model, slices, device=device, backend=OtherBackend(in_float))
    assert report.passed, report.failures
    assert report.reference == "onnx evaluator"
    assert "evaluator" in report.notes[0]
    assert {check.verdict for one in report.slices for check in one.cut} == {"equal"}


def test_a_run_that_fails_is_a_failure_of_slice_and_outputs() -> None:
    class Broken(OtherBackend):
        def load(self, model: SliceModel, device: Device) -> Runner:
            return _Broken(super().load(model, device))

    model = typed(CONVOLUTIONS)
    report = verified(
        model, cut(model, 2), device=replace(CPU, name="odd", backend="other"), backend=Broken(lambda one: one)
    )
    assert report.failures == (
        "slice 0: it could not be checked: out of order",
        "slice 1: it could not be checked: out of order",
        "output y: the run failed: slice 0 on odd: out of order",
    )


class _Broken:
    """A runner that loads and never runs."""

    def __init__(self, runner: Runner) -> None:
        self.assignment, self.close = runner.assignment, runner.close

    def run(self, inputs: object) -> dict[str, np.ndarray]:
        raise BackendError("out of order")

    def bind(self, inputs: object, outputs: object) -> Callable[[], None]:
        raise BackendError("binds nothing")


def test_progress_is_told_slice_by_slice() -> None:
    model = typed(CONVOLUTIONS)
    told: list[tuple[int, int]] = []
    verified(model, cut(model, 2, 1), progress=lambda done, count: told.append((done, count)))
    assert told == [(1, 3), (2, 3), (3, 3)]
