from __future__ import annotations

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.legalise import RULES, legalise
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from tests.unit.backends.helpers import slice_of

CPU = Device("cpu", options={"threads": 1, "optimisation": "disabled"})
HEAD = '<ir_version: 8, opset_import: ["": {}]> '
CASES = {
    "Sum": HEAD.format(17) + "g (float[2,3] a, float[3] b, float[2,3] c) => (float[2,3] y) { [n] y = Sum(a, b, c) }",
    "Mean": HEAD.format(17) + "g (float[2,3] a, float[3] b, float[2,3] c) => (float[2,3] y) { [n] y = Mean(a, b, c) }",
    "Dropout": HEAD.format(17) + "g (float[2,3] a) => (float[2,3] y) { [n] y = Dropout(a) }",
    "IsNaN": HEAD.format(17) + "g (float[2,3] a) => (bool[2,3] y) { [n] y = IsNaN(a) }",
    "LogSoftmax": HEAD.format(18) + "g (float[2,3] a) => (float[2,3] y) { [n] y = LogSoftmax<axis = 0>(a) }",
    "Sign": HEAD.format(17) + "g (float[2,3] a) => (float[2,3] y) { [n] y = Sign(a) }",
    "LRN": HEAD.format(17) + "g (float[2,7,3,4] a) => (float[2,7,3,4] y) { [n] y = LRN<size = 5, alpha = 0.5>(a) }",
    "Softmax": HEAD.format(11) + "g (float[2,3,4] a) => (float[2,3,4] y) { [n] y = Softmax<axis = 1>(a) }",
}
MISFITS = {
    "Mean": HEAD.format(17) + "g (float[3] a) => (float[3] y) { b = Exp(a) [n] y = Mean(b, a) }",
    "Dropout": HEAD.format(17) + "g (float[3] a) => (float[3] y, bool[3] m) { [n] y, m = Dropout(a) }",
    "LogSoftmax": HEAD.format(11) + "g (float[2,3] a) => (float[2,3] y) { [n] y = LogSoftmax(a) }",
    "Sign": HEAD.format(17) + "g (float[3] a) => (float[3] y) { b = Exp(a) [n] y = Sign(b) }",
    "LRN": HEAD.format(17) + "g (float[2,7,3,w] a) => (float[2,7,3,w] y) { [n] y = LRN<size = 3>(a) }",
    "Softmax": HEAD.format(13) + "g (float[2,3,4] a) => (float[2,3,4] y) { [n] y = Softmax<axis = 1>(a) }",
}


def feed_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feed = {}
    for value in model.graph.input:
        shape = [dim.dim_value or 5 for dim in value.type.tensor_type.shape.dim]
        feed[value.name] = rng.standard_normal(shape).astype(np.float32)
        feed[value.name].flat[0] = 0.0
    return feed


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("operator", sorted(CASES))
def test_a_rule_computes_the_same_without_the_operator(operator: str) -> None:
    model = slice_of(CASES[operator])
    legal = legalise(model.model, {operator})
    onnx.checker.check_model(legal, full_check=True)
    if operator != "Softmax":  # it stays, made flat
        assert operator not in {node.op_type for node in legal.graph.node}
    feed = feed_of(model.model)
    expected = BACKEND.load(model, CPU).run(feed)["y"]
    actual = BACKEND.load(type(model)(legal, None, model.inputs, model.outputs), CPU).run(feed)["y"]
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", sorted(CASES))
def test_a_rule_keeps_names_types_and_the_input(operator: str) -> None:
    model = slice_of(CASES[operator]).model
    model.graph.node[0].metadata_props.add(key="layer_ann", value="gpu")
    before = model.SerializeToString()
    legal = legalise(model, {operator})
    assert model.SerializeToString() == before
    assert list(legal.graph.output) == list(model.graph.output)
    assert legal.graph.node[-1].name == "n"
    assert all(node.metadata_props[0].value == "gpu" for node in legal.graph.node)
    names = [node.name for node in legal.graph.node]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operator", sorted(CASES))
def test_legalising_twice_changes_nothing_more(operator: str) -> None:
    legal = legalise(slice_of(CASES[operator]).model, {operator})
    if operator == "Softmax":  # what was made flat is flat: the rule must see that it is
        legal = onnx.shape_inference.infer_shapes(legal)
    assert legalise(legal, {operator}) is legal


@pytest.mark.parametrize("operator", sorted(MISFITS))
def test_a_rule_leaves_what_it_does_not_fit(operator: str) -> None:
    model = slice_of(MISFITS[operator]).model
    assert legalise(model, {operator}) is model


def test_operators_that_are_not_asked_for_stay() -> None:
    model = slice_of(CASES["Sum"]).model
    assert legalise(model, {"Mean"}) is model


def test_a_sum_of_one_is_itself() -> None:
    legal = legalise(slice_of(HEAD.format(17) + "g (float[3] a) => (float[3] y) { y = Sum(a) }").model, {"Sum"})
    assert [node.op_type for node in legal.graph.node] == ["Identity"]


def test_a_mask_that_nobody_reads_does_not_keep_a_dropout() -> None:
    model = slice_of(HEAD.format(17) + "g (float[3] a) => (float[3] y) { y, mask = Dropout(a) }").model
    assert [node.op_type for node in legalise(model, {"Dropout"}).graph.node] == ["Identity"]


def test_bodies_are_made_legal_too() -> None:
    model = slice_of(
        HEAD.format(17) + "g (bool c, float[3] a) => (float[3] y) { y = If<then_branch = t () => (float[3] p) "
        "{ p = Sum(a, a) }, else_branch = e () => (float[3] q) { q = Neg(a) }>(c) }"
    ).model
    legal = legalise(model, {"Sum"})
    assert legal is not model
    assert [node.op_type for node in legal.graph.node[0].attribute[0].g.node] in (["Add"], ["Neg"])
    assert "Sum" not in str(legal.graph)
