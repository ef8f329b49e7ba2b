"""The commands by name, each imported when it is called: help of all of them needs their summaries only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from mosaic_onnx.cli.options import Verbose
from mosaic_onnx.cli.settings import Settings


@dataclass(frozen=True)
class LazyCommand:
    """A command that is not imported yet.

    Attributes:
        room: the module that has it.
        summary: the first line of its help; a test holds it to the command's own.
    """

    room: str
    summary: str


class LoadedCommands(Mapping[str, Any]):
    """Commands by name, imported at first use; what a ``TyperGroup`` holds as its commands."""

    def __init__(self, known: Mapping[str, LazyCommand]) -> None:
        self.known = known

    def __getitem__(self, name: str) -> Any:
        return loaded_command(self.known[name].room, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


@cache
def loaded_command(room: str, name: str) -> Any:
    """Return a command of a module, with the options that every command has."""
    module = import_module(f"mosaic_onnx.cli.{room}")
    holder = typer.Typer(rich_markup_mode=None)
    module.register(holder)
    holder.registered_commands = [one for one in holder.registered_commands if _name_of(one) == name]
    command = typer.main.get_group(holder).commands[name]
    _add_shared_options(command)
    return command


def _name_of(one: Any) -> str:
    """Return the name under which typer will offer a registered command."""
    return str(one.name or one.callback.__name__.replace("_", "-"))


def _add_shared_options(command: Any) -> None:
    for one in getattr(command, "commands", {}).values():
        _add_shared_options(one)
    if not isinstance(command, TyperGroup):
        command.params.extend(_shared_options())


def _shared_options() -> list[Any]:
    """Return the parameters that every command has, made by typer from a function that has only those."""
    holder = typer.Typer(add_completion=False)

    @holder.command()
    def shared(verbose: Verbose = False) -> None:
        """Take the options that every command has."""

    return list(typer.main.get_command(holder).params)


def lazy_group(known: Mapping[str, LazyCommand]) -> type[TyperGroup]:
    """Return the class of a group of commands that are imported when they are called."""

    class LazyGroup(TyperGroup):
        """Lists commands by their summaries; a called command takes defaults from the settings file."""

        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = LoadedCommands(known)  # type: ignore[assignment]  # nothing is added to it

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            """Write the summaries."""
            with formatter.section("Commands"):
                formatter.write_dl([(name, one.summary) for name, one in known.items()])

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """Return a command with its defaults from the settings file."""
            name, command, rest = super().resolve_command(ctx, args)
            if command is not None and not ctx.resilient_parsing and not {"-h", "--help"}.intersection(rest):
                ctx.default_map = {name: Settings.find().defaults(str(name), command, known)}
            return name, command, rest

    return LazyGroup
