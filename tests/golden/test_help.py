"""The help texts of ``mosaic-onnx`` and of every command."""

from __future__ import annotations

import re

import pytest
import typer

from mosaic_onnx import cli
from tests.golden.conftest import Golden


def commands() -> list[str]:
    """The words of every command, subcommands included; the empty string for the program itself."""
    found = [""]
    pending = [("", typer.main.get_command(cli.app))]
    while pending:
        words, command = pending.pop()
        for name, one in getattr(command, "commands", {}).items():
            found.append(f"{words} {name}".strip())
            pending.append((found[-1], one))
    return sorted(found)


@pytest.mark.parametrize("command", commands(), ids=lambda words: words or "mosaic-onnx")
def test_the_help_of_a_command_is_as_it_was(
    command: str, golden: Golden, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.run([*command.split(), "--help"]) == 0
    said = re.sub(r"[ \t]+$", "", capsys.readouterr().out, flags=re.MULTILINE)
    golden(f"help-{command.replace(' ', '-') or 'mosaic-onnx'}.txt", said)
