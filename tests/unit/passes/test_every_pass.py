"""Properties of each pass of the compiler, run in turn on one model, with checks of the state in between."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from mosaic_onnx.discovery.selection import select
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.passes.base import run_pass
from mosaic_onnx.passes.state import State, is_made
from mosaic_onnx.pipeline.options import compile_passes
from mosaic_onnx.pipeline.pipelines import COMPILE, within_budget
from mosaic_onnx.planner.core.request import Request

MODEL = """
    <ir_version: 10, opset_import: ["" : 21], metadata_props: ["made by": "hand"]>
    net (float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,1,1] w>
    { [conv] a = Conv (x, w)  [act] b = Relu (a)  [wave] c = Sin (b)  [out] y = Add (c, x) }"""
NAMES = [one.name for one in COMPILE]
BUDGET = [one.name for one in within_budget(COMPILE)]


def save(folder: Path) -> Path:
    text = MODEL.replace("w>", f"w = {{{', '.join(str(n / 16) for n in range(16))}}}>")
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.metadata_props.add(key="from", value=node.name)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


class Journey:
    """The states before and after each pass, and what each state held when it was made."""

    def __init__(self, folder: Path, request: Request) -> None:
        self.folder = folder
        self.passes = compile_passes({"request": request, "input_shapes": {"x": (1, 4, 8, 8)}})
        self.states = [State(save(folder), select(["cpu"]), Cache(folder / "cache"))]
        self.prints = [fingerprint(self.states[0])]
        for one in self.passes:
            self.states.append(run_pass(one, self.states[-1]))
            self.prints.append(fingerprint(self.states[-1]))

    def around(self, name: str) -> tuple[State, State]:
        at = [one.name for one in self.passes].index(name)
        return self.states[at], self.states[at + 1]


def fingerprint(state: State) -> dict[str, object]:
    """Everything in a state that can be compared by value: models as bytes, arrays as lists, values as they are."""
    found: dict[str, object] = {}
    for each in fields(state):
        value = getattr(state, each.name)
        if not is_made(value) or each.name in ("cutter", "candidates", "delivered", "contest", "selection", "proof"):
            found[each.name] = id(value)
        elif each.name in ("opened", "normalised"):
            found[each.name] = value.model.SerializeToString(deterministic=True)
        elif each.name == "inputs":
            found[each.name] = {name: array.tolist() for name, array in value.items()}
        elif each.name == "table":
            found[each.name] = {one.name: repr(getattr(value, one.name)) for one in fields(value)}
        else:
            found[each.name] = repr(value)
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return Journey(tmp_path_factory.mktemp("plain"), Request(min_slice_count=2))


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return Journey(tmp_path_factory.mktemp("budgeted"), Request(max_error=1e-2, time_limit_s=1.0))


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_makes_what_it_ensures(plain: Journey, name: str) -> None:
    before, after = plain.around(name)
    one = plain.passes[NAMES.index(name)]
    changed = {each.name for each in fields(State) if getattr(after, each.name) is not getattr(before, each.name)}
    assert changed <= set(one.ensures)
    assert all(is_made(getattr(after, name)) for name in one.ensures)


@pytest.mark.parametrize("number", range(len(NAMES) + 1), ids=["start", *NAMES])
def test_a_state_is_as_it_was_after_all_that_came_later(plain: Journey, number: int) -> None:
    assert fingerprint(plain.states[number]) == plain.prints[number]


@pytest.mark.parametrize("number", range(len(BUDGET) + 1), ids=["start", *BUDGET])
def test_a_state_within_a_budget_is_as_it_was_too(budgeted: Journey, number: int) -> None:
    assert fingerprint(budgeted.states[number]) == budgeted.prints[number]


@pytest.mark.parametrize("name", ["load", "normalise", "read_inputs", "layerize", "annotate", "constrain", "profile"])
def test_a_pass_run_twice_gives_the_same_twice(plain: Journey, name: str) -> None:
    """Measuring is repeated from the cache."""
    before, after = plain.around(name)
    one = plain.passes[NAMES.index(name)]
    again = fingerprint(run_pass(one, before))
    assert {key: again[key] for key in one.ensures} == {key: fingerprint(after)[key] for key in one.ensures}


@pytest.mark.parametrize("name", ["normalise", "read_inputs", "layerize", "annotate", "constrain"])
def test_a_pass_run_on_its_own_result_changes_nothing(plain: Journey, name: str) -> None:
    after = plain.around(name)[1]
    one = plain.passes[NAMES.index(name)]
    again = fingerprint(run_pass(one, after))
    assert {key: again[key] for key in one.ensures} == {key: fingerprint(after)[key] for key in one.ensures}


def test_names_types_and_metadata_are_there_at_the_end(plain: Journey) -> None:
    opened, canonical = plain.states[1].opened.model, plain.states[-1].delivered.canonical
    assert canonical is not None
    bodies = [canonical.model.graph.node, *(function.node for function in canonical.model.functions)]
    nodes = {node.name: node for nodes in bodies for node in nodes}
    for node in opened.graph.node:
        assert nodes[node.name].op_type == node.op_type
        assert [(one.key, one.value) for one in nodes[node.name].metadata_props][:1] == [("from", node.name)]
    assert canonical.model.graph.input == opened.graph.input
    assert canonical.model.graph.output == opened.graph.output
    assert {one.key: one.value for one in canonical.model.metadata_props}["made by"] == "hand"
    assert canonical.model.graph.initializer == opened.graph.initializer


def test_the_whole_is_proved(plain: Journey, budgeted: Journey) -> None:
    for journey in (plain, budgeted):
        proof = journey.states[-1].proof
        assert proof.passed
        assert [check.verdict for check in proof.canonical] == ["equal"]
    assert np.isfinite(plain.states[-1].plan.predicted.seconds)
    assert len(plain.states[-1].delivered.slices) == 2
    precision = budgeted.states[-1].precision
    assert precision is not None
    assert precision.budget == 1e-2
