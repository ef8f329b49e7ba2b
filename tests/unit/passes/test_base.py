"""The contract of passes: order, promises, and what a failure says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from mosaic_onnx.core.errors import InfeasibleError, InternalError, UsageError
from mosaic_onnx.passes.base import Pipeline, run_pass, run_passes
from mosaic_onnx.passes.state import State

START = State(path=Path("model.onnx"))


def keep(state: State) -> State:
    return state


@dataclass(frozen=True)
class Step:
    """A pass made of words."""

    name: str = "step"
    requires: tuple[str, ...] = ()
    ensures: tuple[str, ...] = ()
    work: Callable[[State], Any] = keep

    def __call__(self, state: State) -> State:
        return self.work(state)  # type: ignore[no-any-return]


def adding(**made: Any) -> Callable[[State], State]:
    return lambda state: replace(state, **made)


def test_each_pass_gets_what_the_ones_before_it_made() -> None:
    first = Step("first", (), ("plan",), adding(plan="a plan"))
    second = Step("second", ("plan",), ("profile",), lambda state: replace(state, profile=f"of {state.plan}"))
    assert run_passes((first, second), START).profile == "of a plan"


def test_a_state_is_left_as_it_is() -> None:
    before = {each.name: getattr(START, each.name) for each in fields(START)}
    run_passes((Step("first", (), ("plan",), adding(plan="a plan")),), START)
    assert {each.name: getattr(START, each.name) for each in fields(START)} == before


def test_a_pass_that_comes_too_early_is_refused_before_anything_runs() -> None:
    ran: list[str] = []
    early = Step("early", (), ("seed",), lambda state: ran.append("early") or replace(state, seed=1))
    with pytest.raises(UsageError, match="pass late requires table: no pass before it makes it"):
        run_passes((early, Step("late", ("table",))), START)
    assert ran == []


def test_two_passes_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two passes are called 'twin'"):
        run_passes((Step("twin"), Step("twin")), START)


def test_a_pass_that_names_a_field_that_no_state_has_is_refused() -> None:
    with pytest.raises(UsageError, match="pass odd: a state has no field 'weather'"):
        run_passes((Step("odd", ("weather",)),), START)


def test_a_pass_that_does_not_make_what_it_ensures_is_named() -> None:
    with pytest.raises(UsageError, match="pass lazy does not make plan, which it ensures"):
        run_pass(Step("lazy", (), ("plan",)), START)


def test_a_pass_that_changes_what_it_does_not_ensure_is_named() -> None:
    with pytest.raises(UsageError, match="pass sly changes seed and does not say so"):
        run_pass(Step("sly", (), (), adding(seed=3)), START)


def test_a_pass_that_returns_something_else_is_named() -> None:
    with pytest.raises(UsageError, match="pass odd returns str, not a State"):
        run_pass(Step("odd", (), (), lambda state: "done"), START)


def test_a_field_that_nobody_made_says_so_when_it_is_read() -> None:
    with pytest.raises(InternalError, match="name it in `requires`"):
        run_pass(Step("hasty", (), (), lambda state: state.plan.slices), START)


def test_a_failure_keeps_its_class_and_hint_and_names_the_passes_around_it() -> None:
    def fail(state: State) -> State:
        raise InfeasibleError("nothing fits", "allow more memory")

    inner = Pipeline((Step("search", (), (), fail),), "rounds")
    with pytest.raises(InfeasibleError) as caught:
        run_passes((inner,), START)
    assert caught.value.passes == ("rounds", "search")
    assert str(caught.value) == "nothing fits\n  hint: allow more memory\n  in pass: rounds > search"


def test_a_bug_in_a_pass_names_the_pass() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_pass(Step("careless", (), (), lambda state: 1 // 0), START)
    assert caught.value.__notes__ == ["in pass careless"]


def test_a_pipeline_is_a_pass_that_requires_what_its_passes_do_not_make() -> None:
    made = Pipeline((Step("a", ("path",), ("plan",)), Step("b", ("plan", "profile"), ("table",))))
    assert made.requires == ("path", "profile")
    assert made.ensures == ("plan", "table")
