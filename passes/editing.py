"""Pipelines made from pipelines: cut, changed in one place, or with other options; each function returns a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.passes.base import Pass, Passes

P = TypeVar("P", bound=Pass)


def until(passes: Passes, name: str) -> Passes:
    """Return the passes up to the named one, itself included."""
    return passes[: _index(passes, name) + 1]


def since(passes: Passes, name: str) -> Passes:
    """Return the passes from the named one on."""
    return passes[_index(passes, name) :]


def without(passes: Passes, name: str) -> Passes:
    """Return the passes without the named one."""
    at = _index(passes, name)
    return (*passes[:at], *passes[at + 1 :])


def before(passes: Passes, name: str, *more: Pass) -> Passes:
    """Return the passes with more of them before the named one."""
    at = _index(passes, name)
    return (*passes[:at], *more, *passes[at:])


def after(passes: Passes, name: str, *more: Pass) -> Passes:
    """Return the passes with more of them after the named one."""
    at = _index(passes, name) + 1
    return (*passes[:at], *more, *passes[at:])


def instead(passes: Passes, name: str, other: Pass) -> Passes:
    """Return the passes with another one in the place of the named one."""
    at = _index(passes, name)
    return (*passes[:at], other, *passes[at + 1 :])


def find(passes: Passes, name: str) -> Pass:
    """Return the named pass.

    Raises:
        UsageError: there is none.
    """
    return passes[_index(passes, name)]


def every(passes: Passes) -> Iterator[Pass]:
    """Yield every pass in order, those inside others too, each after the one that holds it."""
    for one in passes:
        yield one
        for _, inner in held_passes(one):
            yield from every(inner if isinstance(inner, tuple) else (inner,))


def configured(passes: Passes, options: Mapping[str, Any]) -> Passes:
    """Return the passes with other values of the options named, wherever a pass has such a field."""
    return tuple(with_options(one, options) for one in passes)


def with_options(one: P, options: Mapping[str, Any]) -> P:
    """Return a pass, and those inside it, with other values of the options named."""
    if not is_dataclass(one):
        return one
    names = {each.name for each in fields(one)}
    changes: dict[str, Any] = {name: value for name, value in options.items() if name in names}
    for name, inner in held_passes(one):
        if name in changes:
            continue
        changes[name] = configured(inner, options) if isinstance(inner, tuple) else with_options(inner, options)
    return cast(P, replace(cast(Any, one), **changes)) if changes else one


def option_of(passes: Passes, name: str) -> Any:
    """Return the value of an option, from the first pass that has it.

    Raises:
        UsageError: none has it.
    """
    for one in every(passes):
        if is_dataclass(one) and any(each.name == name for each in fields(one)):
            return getattr(one, name)
    raise UsageError(f"no pass has an option {name!r}", f"passes: {', '.join(one.name for one in every(passes))}")


def held_passes(one: Pass) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a pass that hold passes: one, or a tuple of them."""
    if not is_dataclass(one):
        return
    for each in fields(one):
        value = getattr(one, each.name)
        if _is_pass(value) or (isinstance(value, tuple) and value and all(map(_is_pass, value))):
            yield each.name, value


def _is_pass(value: object) -> bool:
    return is_dataclass(value) and callable(value) and hasattr(value, "requires") and hasattr(value, "ensures")


def _index(passes: Passes, name: str) -> int:
    for number, one in enumerate(passes):
        if one.name == name:
            return number
    raise UsageError(f"there is no pass {name!r}", f"passes: {', '.join(one.name for one in passes)}")
