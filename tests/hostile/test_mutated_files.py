"""Sound models with bytes flipped, dropped and doubled by chance: refused with a word, or sound; no other error."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest
from onnx import parser

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import node_keys, put_in_order
from mosaic_onnx.loading.checks import Limits, check_parsed
from mosaic_onnx.loading.files import parse_model
from mosaic_onnx.loading.input_shapes import fix_inputs, free_dims, guesses
from tests.hostile.attacks import chain_of_functions, external, relu_model

BRANCHES = parser.parse_model(
    '<ir_version: 10, opset_import: ["" : 21]> g (bool c, float[batch, 2] x) => (float[batch, 2] y) <float[2] k = '
    "{1, 2}> { h = Relu(x)  y = If(c) <then_branch = t () => (float[?, 2] a) { a = Add(h, k) }, "
    "else_branch = e () => (float[?, 2] b) { n = Constant<value = float[2] {3, 4}>()  b = Mul(h, n) }> }"
)


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Up to five changes of a byte, a bit or a stretch."""
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 6)):
        at, kind = draw.randrange(len(changed)), draw.random()
        if kind < 0.5:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind < 0.7:
            changed[at] = draw.randrange(256)
        elif kind < 0.85:
            del changed[at : at + draw.randrange(1, 9)]
        else:
            start = draw.randrange(len(changed))
            changed[at:at] = changed[start : start + draw.randrange(1, 40)]
    return bytes(changed)


@pytest.mark.parametrize("model", [BRANCHES, chain_of_functions(4, 2), relu_model(weight=external("w.bin"))])
def test_a_mutated_model_is_refused_with_a_word_or_sound(model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    path = tmp_path / "model.onnx"
    draw = random.Random(0)
    refused = 0
    for _ in range(400):
        try:
            parsed = parse_model(mutate(model.SerializeToString(), draw), path)
            check_parsed(parsed, tmp_path, Limits())
        except ModelError:
            refused += 1
            continue
        put_in_order(parsed)
        assert len(set(node_keys(parsed.graph))) == len(parsed.graph.node)
        fix_inputs(parsed, {}, next(guesses(free_dims(parsed.graph))))
    assert 100 < refused < 400
