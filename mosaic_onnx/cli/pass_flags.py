"""Command-line flags made from the options of a pipeline's passes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

import typer

from mosaic_onnx.cli.parse import parse_caps, parse_counts, parse_rules, parse_shapes
from mosaic_onnx.core.options import Option, declared
from mosaic_onnx.passes.base import Passes
from mosaic_onnx.passes.editing import every
from mosaic_onnx.profiling.energy.watts import parse_watts

Command = Callable[..., None]
OPTIONS = "options"
"""The parameter of a command that receives the options' values."""


@dataclass(frozen=True)
class Flag:
    """One option as a flag of the command line.

    Attributes:
        option: its declaration.
        type: of the field.
        default: of the field.
    """

    option: Option
    type: Any
    default: Any

    @property
    def parameter(self) -> str:
        """Return the name of the command's parameter."""
        return self.option.flag.lstrip("-").replace("-", "_")

    def word(self, more: tuple[str, ...] = ()) -> inspect.Parameter:
        """Return the parameter itself, with more choices than the field has."""
        kind, default = self.type, self.default
        if more:
            kind = Literal[(*get_args(kind), *more)]
        if self.option.words:
            kind, default = list[str] | None, None
        elif isinstance(default, bool):
            default = False
        elif default is not None and self.option.scale != 1.0:
            default = default / self.option.scale
        said = typer.Option(
            self.option.flag,
            help=self.option.help,
            metavar=self.option.metavar,
            min=self.option.minimum,
            case_sensitive=False,
        )
        return inspect.Parameter(
            self.parameter, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, said]
        )

    def value(self, given: Any) -> Any:
        """Return the field's value from what the user gave.

        Raises:
            UsageError: it does not have the right form.
        """
        flag = self.option.flag
        if self.option.words == "rules":
            return parse_rules(given or (), flag)
        if self.option.words == "caps":
            return parse_caps(given or (), flag)
        if self.option.words == "counts":
            return parse_counts(given or (), flag)
        if self.option.words == "watts":
            return parse_watts(given or ())
        if self.option.words == "shapes":
            return parse_shapes(given or ())
        if isinstance(self.default, bool):
            return self.default is not given
        return given if given is None or self.option.scale == 1.0 else given * self.option.scale


def takes(
    passes: Passes, but: Collection[str] = (), more: Mapping[str, tuple[str, ...]] | None = None
) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the flags of these passes' options.

    The command's parameter ``options`` then gets them: by name of a pass's field, the value.

    Args:
        passes: whose options.
        but: fields that this command does not offer.
        more: by flag's parameter, choices that this command knows beside the field's own.
    """
    slots = list(_slots(passes, but))
    also = more or {}

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters
        flags = {flag.parameter: flag for _, made in slots for _, flag in _flags(made)}

        def called(**words: Any) -> None:
            given = {name: words.pop(name) for name in flags}
            command(options={name: _value(made, given) for name, made in slots}, **words)

        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            if name == OPTIONS:
                parameters += [flag.word(also.get(word, ())) for word, flag in flags.items()]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {}
        return called

    return decorate


Made = Flag | type
"""The source of a field's value: a flag, or a dataclass whose fields have flags (``Request``, ``Constraints``)."""


def _slots(passes: Passes, but: Collection[str]) -> Iterator[tuple[str, Made]]:
    """Yield the fields of passes that the command line fills, by name, each once."""
    seen = set(but)
    for one in every(passes):
        if not is_dataclass(one):
            continue
        for each in fields(one):
            made = _made(type(one), each)
            if made is not None and each.name not in seen:
                seen.add(each.name)
                yield each.name, made


def _made(owner: type, each: Field[Any]) -> Made | None:
    factory = each.default_factory
    if isinstance(factory, type) and is_dataclass(factory):
        return factory if any(declared(inner) for inner in fields(factory)) else None
    option = declared(each)
    if option is None:
        return None
    default = factory() if callable(factory) else each.default
    return Flag(option, _type_of(owner, each), default)


def _type_of(owner: type, each: Field[Any]) -> Any:
    """Return the type of a field; others of its class may name types that only type checkers import."""
    alone = type("Alone", (), {"__annotations__": {each.name: each.type}})
    return get_type_hints(alone, vars(sys.modules[owner.__module__]))[each.name]


def _flags(made: Made) -> Iterator[tuple[str, Flag]]:
    if isinstance(made, Flag):
        yield "", made
        return
    for each in fields(made):
        inner = _made(made, each)
        if isinstance(inner, Flag):
            yield each.name, inner


def _value(made: Made, given: Mapping[str, Any]) -> Any:
    if isinstance(made, Flag):
        return made.value(given[made.parameter])
    return made(**{name: flag.value(given[flag.parameter]) for name, flag in _flags(made)})
