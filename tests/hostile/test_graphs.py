"""A graph or function that does not hold together, or unfolds without end, is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, parser

from tests.hostile.attacks import (
    chain_of_functions,
    refuse,
    relu_model,
    save,
)

HEADER = '<ir_version: 10, opset_import: ["" : 21]> '


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g (float[2] x) => (float[2] y) { a = Add(x, b)  b = Relu(a)  y = Relu(b) }", "cycle: '(a' → 'b|b' → 'a)"),
        ("g (float[2] x) => (float[2] y) { y = Add(x, y) }", "cycle: 'y' → 'y'"),
        ("g (float[2] x) => (float[2] y) { y = Relu(x)  y = Abs(x) }", "makes the value 'y' twice"),
        ("g (float[2] x) => (float[2] y) { x = Abs(y)  y = Relu(x) }", "makes the value 'x' twice"),
        ("g (float[2] x) => (float[2] y) { y = Add(x, ghost) }", "reads 'ghost', which no node makes"),
        ("g (float[2] x) => (float[2] ghost) { y = Relu(x) }", "output 'ghost', which no node makes"),
        ("g (float[2] x, float[2] x) => (float[2] y) { y = Relu(x) }", "defines input 'x' twice"),
        ("g (float[2] x) => (float[2] y) { y = Nonsense(x) }", "Nonsense"),
        ("g (float[2] x) => (float[2] y) { y = strange.Op(x) }", "domain 'strange', which is not imported"),
        ("g (float[2] x) => (float[2] y) { y = Relu<alpha = 1.0, alpha = 2.0>(x) }", "attribute 'alpha' twice"),
        ("g (float[2] x) => (float[2] y) { y = Relu<alpha : float = @a>(x) }", "refers to 'a' outside of any function"),
        (
            "g (bool c, float[2] x) => (float[2] y) { y = If(c) <then_branch = t () => (float[2] a) { a = Add(x, y) }, "
            "else_branch = e () => (float[2] b) { b = Relu(x) }> }",
            "cycle: 'y' → 'y'",
        ),
        (
            "g (bool c, float[2] x) => (float[2] y) { y = If(c) <then_branch = t () => (float[2] a) { a = Relu(no) }, "
            "else_branch = e () => (float[2] b) { b = Relu(x) }> }",
            "reads 'no', which no node makes",
        ),
    ],
)
def test_a_graph_that_does_not_hold_together_is_refused(tmp_path: Path, text: str, words: str) -> None:
    refuse(save(parser.parse_model(HEADER + text), tmp_path), words)


def test_an_initialiser_given_twice_is_refused(tmp_path: Path) -> None:
    model = relu_model()
    model.graph.initializer.append(model.graph.initializer[0])
    refuse(save(model, tmp_path), "defines initialiser 'w' twice")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: setattr(model, "ir_version", 999), "IR version 999"),
        (lambda model: setattr(model, "ir_version", 0), "IR version 0"),
        (lambda model: setattr(model, "ir_version", -1), "IR version -1"),
        (lambda model: setattr(model.opset_import[0], "version", 999), "version 999 of operator set 'ai.onnx'"),
        (lambda model: setattr(model.opset_import[0], "version", 0), "version 0 of operator set 'ai.onnx'"),
        (lambda model: setattr(model.opset_import[0], "version", -5), "version -5 of operator set"),
        (lambda model: model.opset_import.pop(), "imports no operator set"),
        (lambda model: model.opset_import.add(domain="ai.onnx", version=9), "'ai.onnx' twice"),
        (lambda model: model.graph.node[0].ClearField("op_type"), "has no operator type"),
        (lambda model: setattr(model.graph.node[0], "name", "n" * 5000), "5000 characters long"),
        (lambda model: setattr(model.graph.node[0], "name", "a\0b"), "NUL character"),
        (lambda model: setattr(model.graph.input[0], "name", ""), "input with no name|nothing makes"),
        (lambda model: model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=2**60), "impossible dimension"),
        (lambda model: model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=-7), "impossible dimension -7"),
    ],
)
def test_a_model_with_impossible_words_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], object], words: str
) -> None:
    model = relu_model()
    change(model)
    refuse(save(model, tmp_path), words)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = save(relu_model(), tmp_path)
    node = onnx.NodeProto(op_type="Relu").SerializeToString()
    bad = node.replace(b"Relu", b"\xff\xfeAB")
    path.write_bytes(path.read_bytes().replace(node, bad))
    refuse(path, "not UTF-8")


def test_a_function_call_bomb_is_refused(tmp_path: Path) -> None:
    refuse(save(chain_of_functions(30, 2), tmp_path), "unfold to more than 1000000 nodes")


def test_functions_that_call_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    refuse(save(chain_of_functions(3, 1, closed=True), tmp_path), "in a cycle: own::F")


def test_a_function_that_calls_itself_in_a_branch_is_refused(tmp_path: Path) -> None:
    model = chain_of_functions(1, 1)
    value = helper.make_tensor_value_info("o", TensorProto.FLOAT, [2])
    branch = helper.make_graph([helper.make_node("F0", ["a"], ["o"], domain="own")], "branch", [], [value])
    node = helper.make_node("If", ["a"], ["b"], then_branch=branch, else_branch=branch)
    model.functions[0].node[0].CopyFrom(node)
    refuse(save(model, tmp_path), "in a cycle: own::F0")


def test_calls_nested_a_hundred_deep_are_refused(tmp_path: Path) -> None:
    refuse(save(chain_of_functions(100, 1), tmp_path), "nested more than 64 deep")


def test_a_long_chain_of_calls_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    refuse(save(chain_of_functions(20_000, 1), tmp_path), "nested more than 64 deep")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda function: function.output.__setitem__(0, "ghost"), "function own::F0 has the output 'ghost'"),
        (lambda function: function.input.append("a"), "defines input 'a' twice"),
        (
            lambda function: function.node[0].attribute.add(name="k", ref_attr_name="no", type=1),
            "refers to 'no', which the function does not have",
        ),
        (lambda function: function.node[0].input.__setitem__(0, "x"), "reads 'x', which no node makes"),
        (lambda function: function.opset_import.pop(), "not imported"),
    ],
)
def test_a_function_that_does_not_hold_together_is_refused(
    tmp_path: Path, change: Callable[[onnx.FunctionProto], object], words: str
) -> None:
    model = chain_of_functions(2, 1)
    change(model.functions[0])
    refuse(save(model, tmp_path), words)


def test_a_function_defined_twice_is_refused(tmp_path: Path) -> None:
    model = chain_of_functions(2, 1)
    model.functions.append(model.functions[0])
    refuse(save(model, tmp_path), "function 'own::F0' twice")
