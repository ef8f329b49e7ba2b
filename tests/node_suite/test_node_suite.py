"""All node tests of the onnx package: compiled on the CPU, the same as in plain ONNX Runtime.

``golden.json`` holds how many cases come to which verdict, and the names of all that are not right. After an update of
onnx or onnxruntime: ``python -m tests.node_suite`` writes it anew; read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.in_process import check_in_process
from tests.node_suite.cases import all_cases
from tests.node_suite.verdicts import plain_verdict, verdict

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).with_name("golden.json")
SHARD_COUNT = 24


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    check_in_process(monkeypatch)


def golden_verdicts() -> dict[str, str]:
    """The verdict of each case that is not right, by name."""
    golden = json.loads(GOLDEN.read_text("utf-8"))
    return {name: verdict for verdict, names in golden["cases"].items() for name in names}


@pytest.mark.parametrize("shard", range(SHARD_COUNT))
def test_node_cases_compile_and_give_what_onnx_runtime_gives(shard: int) -> None:
    expected = golden_verdicts()
    found = {case.name: verdict(case) for case in all_cases()[shard::SHARD_COUNT]}
    assert found == {name: expected.get(name, "right") for name in found}


def test_the_golden_file_names_only_cases_that_exist_and_counts_all_of_them() -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    names = {case.name for case in all_cases()}
    assert set(golden_verdicts()) <= names
    assert sum(golden["counts"].values()) == len(names)
    assert {each: len(cases) for each, cases in golden["cases"].items()} == {
        each: count for each, count in golden["counts"].items() if each != "right"
    }


def test_no_case_is_wrong_where_onnx_runtime_is_right() -> None:
    assert {"wrong", "fails"}.isdisjoint(golden_verdicts().values())


def test_what_is_refused_is_refused_by_us_alone_only_for_a_known_reason() -> None:
    refused = {name for name, each in golden_verdicts().items() if each.startswith("refused")}
    cases = {case.name: case for case in all_cases()}
    kinds = {}
    for name in refused:
        graph = cases[name].model.graph
        kinds[name] = {value.type.WhichOneof("value") for value in (*graph.input, *graph.output)}
    assert [name for name, kind in kinds.items() if kind == {"tensor_type"}] == []
    assert all(plain_verdict(cases[name]) == "right" for name in refused)
