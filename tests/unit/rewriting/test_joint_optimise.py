"""Neighbouring slices of one device are cut after optimising: same bits as the session of the original, no tax."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.graph.graphs import node_keys
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.rewriting.joint_optimise import Tune, runs
from mosaic_onnx.rewriting.rewrite import extract
from mosaic_onnx.runtime.executor import open_program

DEVICE = Device("cpu", backend="onnxruntime", options={"threads": 1})
OTHER = Device("other", backend="onnxruntime", options={"threads": 1})


def two_convolutions() -> onnx.ModelProto:
    """Two convolutions whose activations a runtime fuses into them, in its own layout."""
    random = np.random.default_rng(0)
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        g (float[1,16,12,12] x) => (float[1,16,12,12] y) {
            [c1] a = Conv <pads = [1,1,1,1]> (x, w1)
            [r1] b = Relu (a)
            [c2] c = Conv <pads = [1,1,1,1]> (b, w2)
            [r2] y = Relu (c)
        }""")
    for name in ("w1", "w2"):
        weights = random.normal(size=(16, 16, 3, 3)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return onnx.shape_inference.infer_shapes(model)


def plan_of(parts: list[list[str]], states: list[str]) -> Plan:
    slices = tuple(
        Slice((index,), state, nodes=tuple(part)) for index, (part, state) in enumerate(zip(parts, states, strict=True))
    )
    return Plan("latency", "sequential", "test", slices, (), Predicted(0.0, None, 0.0))


def cut(model: onnx.ModelProto, parts: list[list[str]]) -> tuple[SliceModel, ...]:
    return tuple(extract(model, None, part) for part in parts)


def run(slices: tuple[SliceModel, ...], plan: Plan, x: np.ndarray) -> np.ndarray:
    devices = {"cpu": DEVICE, "other": OTHER}
    with open_program(slices, plan, devices, {"onnxruntime": BACKEND}, inputs=("x",), outputs=("y",)) as program:
        return program.run({"x": x})["y"]


TUNE = Tune({"cpu": DEVICE, "other": OTHER}, {"onnxruntime": BACKEND})


@pytest.mark.parametrize("parts", [[["c1", "r1"], ["c2", "r2"]], [["c1"], ["r1", "c2"], ["r2"]]])
def test_tuned_slices_give_the_bits_of_the_uncut_session(parts: list[list[str]]) -> None:
    model = two_convolutions()
    x = np.random.default_rng(1).normal(size=(1, 16, 12, 12)).astype(np.float32)
    whole = run(cut(model, [node_keys(model.graph)]), plan_of([node_keys(model.graph)], ["cpu"]), x)
    plan = plan_of(parts, ["cpu"] * len(parts))
    tuned = TUNE(model, None, plan, cut(model, parts))
    assert np.array_equal(run(tuned, plan, x), whole)


def test_what_crosses_between_tuned_slices_stays_in_the_runtimes_layout() -> None:
    model, parts = two_convolutions(), [["c1", "r1"], ["c2", "r2"]]
    first, second = TUNE(model, None, plan_of(parts, ["cpu", "cpu"]), cut(model, parts))
    assert first.is_optimised
    assert second.is_optimised
    kinds = [node.op_type for one in (first, second) for node in one.model.graph.node]
    assert "Relu" not in kinds
    assert kinds.count("ReorderInput") <= 1
    assert first.outputs == second.inputs


def test_a_slice_that_optimising_leaves_empty_keeps_the_portable_slices() -> None:
    model = two_convolutions()
    parts = [["c1", "r1"], ["c2"], ["r2"]]
    slices = cut(model, parts)
    assert TUNE(model, None, plan_of(parts, ["cpu"] * 3), slices) == slices


def test_an_output_that_the_runtime_folds_stays_with_the_slice_that_makes_it() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y, int64[1] s) <float[2] w = {1, 2}> {
            [first] a = Add (x, w)
            [shape] s = Shape (w)
            [second] y = MatMul (a, q)
        }""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(2, dtype=np.float32), "q"))
    model = onnx.shape_inference.infer_shapes(model)
    parts = [["first", "shape"], ["second"]]
    first, second = TUNE(model, None, plan_of(parts, ["cpu", "cpu"]), cut(model, parts))
    assert first.is_optimised
    assert "s" in first.outputs
    assert second.outputs == ("y",)
    assert BACKEND.load(first, DEVICE).run({"x": np.ones(2, np.float32)})["s"] == [2]


def test_slices_of_different_devices_are_left_alone() -> None:
    model, parts = two_convolutions(), [["c1", "r1"], ["c2", "r2"]]
    slices = cut(model, parts)
    assert TUNE(model, None, plan_of(parts, ["cpu", "other"]), slices) == slices


def test_the_model_that_is_tuned_stays_as_it_was() -> None:
    model, parts = two_convolutions(), [["c1", "r1"], ["c2", "r2"]]
    before = model.SerializeToString(deterministic=True)
    TUNE(model, None, plan_of(parts, ["cpu", "cpu"]), cut(model, parts))
    assert model.SerializeToString(deterministic=True) == before


def test_runs_are_stretches_of_neighbours_in_one_state() -> None:
    plan = plan_of([["a"], ["b"], ["c"], ["d"], ["e"]], ["cpu", "cpu", "other", "cpu", "cpu"])
    assert list(runs(plan)) == [(0, 1), (3, 4)]
