from __future__ import annotations

import numpy as np
import onnx
from onnx import parser

from mosaic_onnx.verification.reference import Reference
from mosaic_onnx.verification.sensitivity import disturbances, disturbed, element_types, with_moved_steps, with_noise


def typed(graph: str) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {graph}'))


def moved(model: onnx.ModelProto, amount: float, **inputs: np.ndarray) -> list[dict[str, float]]:
    reference = Reference(model, None)
    found = disturbances(model, None, reference, inputs, amount, element_types(model.graph))
    return [{name: each.max_absolute for name, each in by().items()} for _, by in found]


def test_a_well_conditioned_graph_moves_by_the_disturbance() -> None:
    model = typed("g (float[4] x) => (float[4] y) { y = Mul(x, x) }")
    by_noise, by_inputs = moved(model, 1e-3, x=np.ones(4, np.float32))
    assert 4e-4 < by_noise["y"] < 6e-4
    assert 1e-3 < by_inputs["y"] < 3e-3


def test_a_cancellation_moves_by_much_more() -> None:
    model = typed("g (float[4] x) => (float[4] y) { e = Exp(x)\n l = Log(e)\n y = Sub(l, x) }")
    by_noise, _ = moved(model, 1e-3, x=np.full(4, 10, np.float32))
    assert by_noise["y"] > 1e-4


def test_a_whole_number_made_by_rounding_flips_under_noise_where_inputs_alone_do_not_move_it() -> None:
    model = typed("g (float[4] x) => (int64[4] y) { s = Sin(x)\n y = Cast<to = 7>(s) }")
    by_noise, by_inputs = moved(model, 1e-6, x=np.full(4, np.pi / 2, np.float32))
    assert by_noise["y"] == 1
    assert by_inputs["y"] == 0


def test_operators_that_round_nothing_get_no_noise() -> None:
    model = typed("g (float[4] x) => (float[4] y) { r = Relu(x)\n f = Floor(r)\n y = Identity(f) }")
    assert with_noise(model, 1e-3, 0, element_types(model.graph)).graph.node == model.graph.node


def test_noise_leaves_the_model_and_its_names_as_they_are() -> None:
    model = typed("g (float[4] x) => (float[4] y) { m = Mul(x, x)\n y = Exp(m) }")
    before = model.SerializeToString()
    noisy = with_noise(model, 1e-3, 0, element_types(model.graph))
    assert model.SerializeToString() == before
    onnx.checker.check_model(noisy)
    assert {name for node in noisy.graph.node for name in node.output} >= {"m", "y"}


QUANTISED = """
    g (float[1,64] x) => (float[1,64] y) <float s = {0.5}, int8 z = {3}> {
        r = Relu(x)
        q = QuantizeLinear(r, s, z)
        y = DequantizeLinear(q, s, z)
    }"""


def test_a_value_at_the_edge_of_a_quantisation_step_moves_by_the_whole_step() -> None:
    model = typed(QUANTISED)
    x = np.full((1, 64), 1.25001, np.float32)  # 2.50002 steps
    by_noise, by_inputs, by_steps = moved(model, 1e-6, x=x)
    assert (by_noise["y"], by_inputs["y"], by_steps["y"]) == (0.0, 0.0, 0.5)


def test_a_value_amid_a_quantisation_step_stays_where_it_is() -> None:
    assert [by["y"] for by in moved(typed(QUANTISED), 1e-6, x=np.ones((1, 64), np.float32))] == [0.0, 0.0, 0.0]


def test_moved_steps_leave_the_model_and_its_names_as_they_are() -> None:
    model = typed(QUANTISED)
    before = model.SerializeToString()
    noisy = with_moved_steps(model, 1e-3, 0, element_types(model.graph))
    assert model.SerializeToString() == before
    onnx.checker.check_model(noisy)
    assert {name for node in noisy.graph.node for name in node.output} >= {"r", "q", "y"}


def test_only_floats_are_disturbed() -> None:
    random = np.random.default_rng(0)
    for array in (np.arange(3), np.array(["a"], object), np.array([True])):
        assert disturbed(array, random, 0.1) is array
    ones = disturbed(np.ones(50, np.float16), random, 0.25)
    assert ones.dtype == np.float16
    assert set(ones.tolist()) == {0.75, 1.25}
