"""The reference of commands, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from mosaic_onnx import cli


def commands_page() -> str:
    """Return the page in Markdown: usage, help and options of every command."""
    parts = ["# Commands\n", "Made from the command line itself; `mosaic-onnx COMMAND --help` says the same.\n"]
    parts += [_section(words, command) for words, command in every_command()]
    return "\n".join(parts)


def every_command() -> Iterator[tuple[str, Any]]:
    """Yield the words of each command with the command, those of groups after their group."""
    pending: list[tuple[str, Any]] = [("", typer.main.get_command(cli.app))]
    while pending:
        words, group = pending.pop(0)
        for name, one in getattr(group, "commands", {}).items():
            full = f"{words} {name}".strip()
            if hasattr(one, "commands"):
                pending.append((full, one))
            else:
                yield full, one


def _section(words: str, command: Any) -> str:
    name = words.rsplit(maxsplit=1)[-1]
    context = command.make_context(name, [], resilient_parsing=True, help_option_names=["-h", "--help"])
    usage = " ".join(["mosaic-onnx", words, *command.collect_usage_pieces(context)])
    lines = [f"## {words}\n", f"{_plain(command.help or '')}\n", f"```text\n{usage}\n```\n"]
    rows = [record for one in command.get_params(context) if (record := _record(one, context)) is not None]
    if rows:
        lines += ["| | |", "| --- | --- |", *(f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows), ""]
    return "\n".join(lines)


def _record(parameter: Any, context: Any) -> tuple[str, str] | None:
    """Return how a parameter is written, and its help."""
    record = parameter.get_help_record(context)
    if record is not None:
        return str(record[0]), _plain(str(record[1]))
    if getattr(parameter, "hidden", False):
        return None
    return parameter.make_metavar(context), _plain(getattr(parameter, "help", "") or "")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
