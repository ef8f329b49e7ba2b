"""Options from a file: ``mosaic.toml``, or ``[tool.mosaic-onnx]`` of a ``pyproject.toml``; a flag wins over the file.

A table for each command holds options by their long names without dashes: ``[compile]``, ``effort = "quick"``. The
file of the current folder counts, or of the nearest folder above it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mosaic_onnx.core.devices import names_a_file
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.text.suggestions import did_you_mean
from mosaic_onnx.files.atomic import read_text
from mosaic_onnx.files.toml_text import load_toml

OWN_FILE = "mosaic.toml"
SHARED_FILE = "pyproject.toml"
TOOL = "mosaic-onnx"
ONLY_FLAGS = ("help", "verbose", "json", "force", "trust", "version")
"""Options that a file cannot set: they decide what one call prints, replaces or trusts."""


@dataclass(frozen=True)
class Settings:
    """The options of a file.

    Attributes:
        source: the file, with the table's name; empty where there is no file.
        tables: by command, the values by option.
    """

    source: str = ""
    tables: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def find(folder: Path | None = None) -> Settings:
        """Return the settings of a folder, or of the nearest one above it that has some.

        Args:
            folder: where to begin; None for the current folder.

        Raises:
            UsageError: the file is not TOML.
        """
        start = Path.cwd() if folder is None else folder
        for each in (start, *start.parents):
            for name in (OWN_FILE, SHARED_FILE):
                path = each / name
                if path.is_file():
                    found = _read(path)
                    if found is not None:
                        return found
        return Settings()

    def defaults(self, name: str, command: Any, commands: Collection[str]) -> dict[str, Any]:
        """Return the values that the file gives a command's parameters.

        Args:
            name: of the command.
            command: whose parameters, as typer made it.
            commands: the names of all commands: a table of another name is refused.

        Raises:
            UsageError: the file names what does not exist, or gives a value of the wrong kind.
        """
        for table in self.tables:
            if table not in commands:
                raise UsageError(f"{self.source}: there is no command '{table}'", did_you_mean(table, commands))
        values = self._given(name, command, self.tables.get(name, {}))
        if values:
            import logging

            words = ", ".join(f"{key} = {value!r}" for key, value in self.tables[name].items())
            logging.getLogger(__name__).info("options from %s: %s: %s", self.source, name, words)
        return values

    def _given(self, path: str, command: Any, table: Any) -> dict[str, Any]:
        """Return the values of one table, by parameter; tables inside are those of a group's commands."""
        if not isinstance(table, Mapping):
            raise UsageError(f"{self.source}: {path} is not a table", f"write [{path}] and options below it")
        inner = getattr(command, "commands", None)
        if inner is not None:
            unknown = next((key for key in table if key not in inner), None)
            if unknown is not None:
                raise UsageError(f"{self.source}: there is no {path}.{unknown}", did_you_mean(unknown, list(inner)))
            return {key: self._given(f"{path}.{key}", inner[key], value) for key, value in table.items()}
        known = _options_of(command)
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key in ONLY_FLAGS:
                raise UsageError(f"{self.source}: {path}.{key} cannot stand in a file", "give it as a flag")
            if key not in known:
                hint = did_you_mean(key, list(known))
                raise UsageError(f"{self.source}: {path}.{key}: there is no such option", hint)
            values[known[key].name] = self._value(f"{path}.{key}", known[key], value)
            if key == "devices":
                self._refuse_devices_file(f"{path}.{key}", values[known[key].name])
        return values

    def _refuse_devices_file(self, path: str, words: Sequence[str]) -> None:
        """Refuse devices that are named by a file.

        It may name native libraries, and settings take effect wherever a command is called: in the folder of a
        stranger's model too.

        Raises:
            UsageError: one is a file.
        """
        for word in (each.strip() for each in ",".join(words).split(",")):
            if names_a_file(word):
                hint = f"give it as a flag: -d {word}"
                raise UsageError(f"{self.source}: {path}: a devices file cannot be named here: {word!r}", hint)

    def _value(self, path: str, parameter: Any, value: Any) -> Any:
        """Return one value as the command line would give it.

        Raises:
            UsageError: it is of another kind.
        """
        if getattr(parameter, "is_flag", False) or isinstance(value, bool):
            if isinstance(value, bool) and getattr(parameter, "is_flag", False):
                return value
            wanted = "true or false" if getattr(parameter, "is_flag", False) else "a value, not true or false"
            raise UsageError(f"{self.source}: {path} must be {wanted}, got {value!r}")
        if getattr(parameter, "multiple", False):
            words = value if isinstance(value, list) else [value]
            if not all(isinstance(word, str) for word in words):
                raise UsageError(f"{self.source}: {path} must be texts, got {value!r}")
            return words
        if not isinstance(value, str | int | float):
            raise UsageError(f"{self.source}: {path} must be one value, got {value!r}")
        return str(value)


def _options_of(command: Any) -> dict[str, Any]:
    """Return a command's options by their long names without dashes."""
    return {
        word.lstrip("-"): parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for word in parameter.opts
        if word.startswith("--")
    }


def _read(path: Path) -> Settings | None:
    """Return the settings of a file; None for a ``pyproject.toml`` that has none.

    Raises:
        UsageError: it is not TOML.
    """
    try:
        content = load_toml(read_text(path), str(path))
    except ModelError as error:
        raise UsageError(error.message, "mend it, or call mosaic-onnx elsewhere") from error
    if path.name == OWN_FILE:
        return Settings(str(path), content)
    tools = content.get("tool")
    table = tools.get(TOOL) if isinstance(tools, Mapping) else None
    if table is None:
        return None
    source = f"{path} [tool.{TOOL}]"
    if not isinstance(table, Mapping):
        raise UsageError(f"{source} is not a table", f"write [tool.{TOOL}.compile] and options below it")
    return Settings(source, table)
