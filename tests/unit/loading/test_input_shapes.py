"""Free dimensions: what they are taken for, and how given shapes settle them."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper, parser

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.loading.input_shapes import fix_inputs, free_dims, guesses, symbols_of_shapes


def model(*inputs: tuple[str, list[str | int | None]]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs]
    output = helper.make_tensor_value_info("y", 1, ["batch", 4])
    return helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values, [output]))


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("x", ["batch", 3, "height", "width"], [1, 224, 224]),
        ("x", ["N", 3, "H", "W"], [1, 224, 224]),
        ("x", [None, 3, None, None], [1, 224, 224]),
        ("sample", ["batch", 4, "height", "width"], [1, 32, 32]),
        ("ids", ["batch_size", "sequence_length"], [1, 8]),
        ("ids", ["batch", "max_seq_len_in_batch"], [1, 8]),
        ("mask", ["batch", "past_seq_len + seq_len"], [1, 16]),
        ("past", [2, "batch", 4, "past_seq_len", 8], [1, 8]),
        ("audio", [1, "audio_length"], [16000]),
        ("state", [2, None, 128], [1]),
        ("logits", ["batch", "vocab_size"], [1, 128]),
    ],
)
def test_the_first_guess_follows_the_names(name: str, shape: list[str | int | None], expected: list[int]) -> None:
    dims = free_dims(model((name, shape)).graph)
    first = next(guesses(dims))
    assert [first[dim.symbol] for dim in dims] == expected


def test_no_guess_comes_twice_and_equal_names_are_equal() -> None:
    dims = free_dims(model(("x", ["batch", "seq"]), ("z", ["batch", "seq"])).graph)
    tried = [tuple(sorted(guess.items())) for guess in guesses(dims)]
    assert len(tried) == len(set(tried)) > 5


def test_a_successor_is_guessed_one_larger_first() -> None:
    dims = free_dims(model(("x", ["batch"]), ("z", ["batch_plus_1"])).graph)
    assert next(guesses(dims)) == {"batch": 1, "batch_plus_1": 2}


def test_a_given_shape_settles_the_same_name_elsewhere() -> None:
    graph = model(("x", ["batch", 4]), ("z", ["batch", "seq"])).graph
    assert symbols_of_shapes(graph, {"x": (3, 4)}) == {"batch": 3}


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"ghost": (1,)}, "'ghost', which is not an input"),
        ({"x": (1, 2, 3)}, "'x' 3 dimensions, the model has 2"),
        ({"x": (1, 5)}, "dimension 1 of 'x' as 5, the model fixes 4"),
        ({"x": (-1, 4)}, "not positive"),
        ({"x": (2, 4), "z": (3, 8)}, "'batch' as 2 and as 3"),
    ],
)
def test_a_shape_that_does_not_fit_is_a_usage_error(shapes: dict[str, tuple[int, ...]], words: str) -> None:
    graph = model(("x", ["batch", 4]), ("z", ["batch", "seq"])).graph
    with pytest.raises(UsageError, match=words):
        symbols_of_shapes(graph, shapes)


def test_fixing_reaches_outputs_by_name_and_keeps_weights() -> None:
    one = parser.parse_model(
        '<ir_version: 3, opset_import: ["" : 8]> g (float[batch, 4] x, float[batch] w) => (float[batch, 4] y) '
        "<float[1] w = {1}> { y = Relu(x) }"
    )
    fix_inputs(one, {}, {"batch": 6})
    assert [dim.dim_value for dim in one.graph.input[0].type.tensor_type.shape.dim] == [6, 4]
    assert one.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 6
    assert one.graph.input[1].type.tensor_type.shape.dim[0].dim_param == "batch"
