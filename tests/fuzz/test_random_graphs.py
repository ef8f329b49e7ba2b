"""Random graphs keep their bits when they are cut by chance, and when they are compiled; see also `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.fuzz.differential import check_compiled, check_rewriting, runs_in_onnx_runtime
from tests.fuzz.generator.models import random_model
from tests.in_process import check_in_process


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    check_in_process(monkeypatch)


def operators_of(graph: onnx.GraphProto) -> set[str]:
    found = {node.op_type for node in graph.node}
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return found.union(*map(operators_of, bodies))


def test_random_models_are_valid_and_use_every_rule() -> None:
    models = [random_model(seed) for seed in range(40)]
    assert all(map(runs_in_onnx_runtime, models))
    used = set().union(*(operators_of(model.graph) for model in models))
    assert {"If", "Loop", "Scan", "Half", "Conv", "MatMul", "QuantizeLinear", "TopK", "Split", "Where"} <= used
    assert len(used) > 60


def test_the_same_seed_gives_the_same_model() -> None:
    assert random_model(7).SerializeToString() == random_model(7).SerializeToString()
    assert random_model(7).SerializeToString() != random_model(8).SerializeToString()


@pytest.mark.parametrize("start", range(0, 24, 6))
def test_random_models_keep_their_bits_when_they_are_cut(start: int, tmp_path: Path) -> None:
    for seed in range(start, start + 6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        check_rewriting(random_model(seed), folder)


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(100, 130))])
def test_a_random_model_compiles_and_keeps_its_bits(seed: int, tmp_path: Path) -> None:
    check_compiled(random_model(seed, most_nodes=12), tmp_path)
