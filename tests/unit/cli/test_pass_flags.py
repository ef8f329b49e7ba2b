"""Flags made from the fields of passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import typer
from typer.testing import CliRunner

from mosaic_onnx.cli.pass_flags import takes
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.options import option
from mosaic_onnx.passes.base import Pass
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.pipelines import COMPILE, PLAN
from mosaic_onnx.planner.core.request import Request


@dataclass(frozen=True)
class Paint:
    """A pass with an option of each kind."""

    name: ClassVar[str] = "paint"
    requires: ClassVar[tuple[str, ...]] = ()
    ensures: ClassVar[tuple[str, ...]] = ()

    colour: Literal["red", "blue"] = option("red", "Which one.", "--colour")
    coats: int = option(1, "How many.", "--coats", minimum=1)
    drying_s: float = option(2.0, "How long.", "--drying-ms", scale=1e-3)
    smooth: bool = option(True, "Leave it rough.", "--rough")
    varnish: bool = option(False, "Varnish it.", "--varnish")
    file: Path | None = option(None, "A file.", "--file")
    caps: Mapping[str, int] = option(dict, "Caps.", "--cap", words="caps")
    inner: int = 7

    def __call__(self, state: State) -> State:
        return state


def given(*words: str, passes: tuple[Pass, ...] = (Paint(),), **more: Any) -> dict[str, Any]:
    """Return the options that a command receives for these words."""
    seen: dict[str, Any] = {}

    @takes(passes, **more)
    def command(options: Mapping[str, Any]) -> None:
        seen.update(options)

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return seen if done.exit_code == 0 else {"refused": done.output}


def test_without_a_word_every_field_has_its_default() -> None:
    assert given() == {
        "colour": "red",
        "coats": 1,
        "drying_s": 2.0,
        "smooth": True,
        "varnish": False,
        "file": None,
        "caps": {},
    }


def test_words_become_values_in_the_units_of_the_fields() -> None:
    words = [
        "--colour",
        "blue",
        "--coats",
        "3",
        "--drying-ms",
        "250",
        "--rough",
        "--varnish",
        "--file",
        "a.npz",
        "--cap",
        "gpu=4KiB",
    ]
    assert given(*words) == {
        "colour": "blue",
        "coats": 3,
        "drying_s": 0.25,
        "smooth": False,
        "varnish": True,
        "file": Path("a.npz"),
        "caps": {"gpu": 4096},
    }


def test_a_value_that_the_field_does_not_take_is_refused() -> None:
    assert "green" in given("--colour", "green")["refused"]
    assert "greater than or equal to 1" in given("--coats", "0")["refused"]
    with pytest.raises(UsageError, match="--cap 'gpu' does not name a device and an amount"):
        given("--cap", "gpu")


def test_a_command_may_leave_an_option_out_or_know_one_more_choice() -> None:
    assert "coats" not in given(but=("coats",))
    assert given("--colour", "none", more={"colour": ("none",)})["colour"] == "none"


def test_a_value_whose_own_fields_are_options_is_made_from_their_flags() -> None:
    found = given("--objective", "energy", "--deadline-ms", "20", "--pin", "conv=gpu", passes=PLAN)
    assert found == {
        "request": Request(objective="energy", deadline_s=0.02),
        "constraints": Constraints(pins=(("conv", "gpu"),)),
    }


def test_one_flag_fills_every_field_that_it_belongs_to() -> None:
    found = given("--seed", "5", passes=COMPILE)
    assert found["seed"] == 5
    assert found["request"].seed == 5
