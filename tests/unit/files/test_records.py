"""Dataclasses to and from file objects: nested ones, tuples, aliases, defaults that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from mosaic_onnx.files.records import ALWAYS, to_entry, to_record
from mosaic_onnx.files.strict_json import FileModel, NonNegative


@dataclass(frozen=True)
class Leg:
    source: str
    seconds: float = 0.0
    joules: float | None = None
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    legs: tuple[Leg, ...] = ()
    by_name: Mapping[str, Leg | None] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    meta: Mapping[str, object] = field(default_factory=dict)


class LegEntry(FileModel):
    source: str = Field(alias="from")
    seconds: Annotated[NonNegative, ALWAYS] = 0.0
    joules: NonNegative | None = None


class RouteEntry(FileModel):
    legs: list[LegEntry] = Field([])
    by_name: dict[str, LegEntry | None] = Field({})
    numbers: list[int] = Field([])


LEGS = st.builds(
    Leg,
    source=st.text(),
    seconds=st.floats(0, 1e9),
    joules=st.none() | st.floats(0, 1e9),
    meta=st.dictionaries(st.text(), st.lists(st.integers())),
)
ROUTES = st.builds(
    Route,
    legs=st.lists(LEGS).map(tuple),
    by_name=st.dictionaries(st.text(), st.none() | LEGS),
    numbers=st.lists(st.integers()).map(tuple),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # how fast routes are drawn is the machine's matter
@given(ROUTES)
def test_what_is_written_is_read_as_the_same_record(route: Route) -> None:
    assert to_record(RouteEntry.model_validate(to_entry(route, RouteEntry)), Route) == route


def test_defaults_are_left_out_but_those_always_written() -> None:
    assert to_entry(Route(), RouteEntry) == {}
    assert to_entry(Leg("x"), LegEntry) == {"from": "x", "seconds": 0.0}


def test_meta_comes_last() -> None:
    assert list(to_entry(Leg("x", joules=1.0, meta={"why": 1}), LegEntry)) == ["from", "seconds", "joules", "meta"]


@pytest.mark.parametrize("joules", [None, 0.0])
def test_none_is_left_out_and_zero_is_not(joules: float | None) -> None:
    assert ("joules" in to_entry(Leg("x", joules=joules), LegEntry)) == (joules is not None)
