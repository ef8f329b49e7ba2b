"""Nodes that cannot run on any input are refused by name before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper, parser

from mosaic_onnx import api
from mosaic_onnx.core.errors import InputsRefusedError, ModelError
from mosaic_onnx.core.layers import TensorInfo
from mosaic_onnx.loading.node_checks import check_attributes
from tests.unit.small_models import from_text

HEADER = '<ir_version: 10, opset_import: ["" : 21]> '
INTEGERS = "<int64 step = {%d}, int64 length = {%d}>"


def einsum(equation: str, a: str = "2,3", b: str = "3,4") -> str:
    return f'g (float[{a}] a, float[{b}] b) => (float[N,M] y) {{ [n] y = Einsum <equation = "{equation}"> (a, b) }}'


def stft(step: int, length: int, onesided: int = 1) -> str:
    values = INTEGERS % (step, length)
    inputs = "g (float[1,128,1] x) => (float[N,M,K,L] y)"
    return f"{inputs} {values} {{ [n] y = STFT <onesided = {onesided}> (x, step, , length) }}"


def saved(text: str, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(parser.parse_model(HEADER + text).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (einsum("ij,jk->iz"), "'ij,jk->iz' has 'z' after the arrow and not before it"),
        (einsum("ij,j!->i"), "is not letters, commas, ellipses and one arrow"),
        (einsum("ij->i"), "is for 1 inputs, and it has 2"),
        (einsum("ijk,jk->i"), "gives input 0 3 dimensions, and it has 2"),
        (einsum("ij,jk->ik", "2,3", "5,4"), "wants 'j' to be 3 and 5"),
        (einsum("ij,jk->ii"), "has a letter twice after the arrow"),
        (stft(0, 16), "its frame_step is 0"),
        (stft(8, 0), "its frame_length is 0"),
        (stft(8, 1600), "its frames have 1600 values, and its signal has 128"),
        (stft(8, 16, onesided=7), "its onesided is 7"),
        (
            "g (float[2,3] x, float[3] s) => (float[2,3] y) { [n] y = LayerNormalization <axis = 7> (x, s) }",
            "its axis is 7, and its input has 2 dimensions",
        ),
    ],
)
def test_a_node_that_cannot_run_is_refused_by_inspect(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        api.inspect(saved(text, tmp_path), devices=["cpu"])
    assert "node 'n'" in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint


def test_what_onnx_runtime_finds_contradictory_is_refused_by_inspect(tmp_path: Path) -> None:
    text = "g (float[2,3] x, float[4,5] w) => (float[2,5] y) { y = MatMul (x, w) }"
    with pytest.raises(ModelError, match=r"Node \(%y\) Op \(MatMul\)"):
        api.inspect(saved(text, tmp_path), devices=["cpu"])


def test_two_nodes_of_one_name_are_refused(tmp_path: Path) -> None:
    text = "g (float[2] x) => (float[2] y) { [n] h = Relu(x)  [n] y = Neg(h) }"
    with pytest.raises(ModelError, match="two nodes called 'n' \\(one makes 'h' and one makes 'y'\\)"):
        api.inspect(saved(text, tmp_path), devices=["cpu"])


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij, jk", "...j,jk->...k", "ij,jk->", "ii,jk->jk", "iJ,Jk->ki"])
def test_sound_equations_pass(equation: str) -> None:
    shape = (3, 3) if equation.startswith("ii") else (2, 3)
    node = helper.make_node("Einsum", ["a", "b"], ["y"], equation=equation)
    tensors = {"a": TensorInfo("a", 1, shape, 24), "b": TensorInfo("b", 1, (3, 4), 48)}
    check_attributes(helper.make_graph([node], "g", [], []), tensors)


def test_a_sound_transform_passes() -> None:
    model = from_text("g (float[1,128,1] x) => (float[1,15,9,2] y) <int64 step = {8}, int64 length = {16}> "
                      "{ y = STFT (x, step, , length) }")  # fmt: skip
    tensors = {"x": TensorInfo("x", 1, (1, 128, 1), 512)}
    check_attributes(model.graph, tensors)


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_a_division_by_zero_is_the_inputs_fault(tmp_path: Path, operator: str) -> None:
    path = saved(f"g (int64[4] a) => (int64[4] y) {{ z = Sub(a, a)  y = {operator}(a, z) }}", tmp_path)
    with pytest.raises(InputsRefusedError, match="by zero") as caught:
        api.compile(path, devices=["cpu"], cache=False)
    assert "made up: give real ones with --inputs" in caught.value.hint
    assert caught.value.exit_code == 1
