"""Output of commands: results to stdout, progress and tables to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mosaic_onnx.core.text.terminal import brief, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mosaic_onnx.core.progress import Progress


class OutputClosed(Exception):
    """The reader of stdout is gone (``| head -1``): there is nobody left to write to."""


@dataclass(frozen=True)
class Reporter:
    """Writes a command's output.

    Attributes:
        json: write one JSON object to stdout instead of text.
        quiet: write only errors to stderr.
    """

    json: bool = False
    quiet: bool = False

    def show(self, *renderables: RenderableType) -> None:
        """Print tables or text to stderr."""
        if not self.quiet and not self.json:
            _render(renderables, to_stderr=True)

    def show_result(self, *renderables: RenderableType) -> None:
        """Print tables that are a command's result to stdout."""
        if not self.json:
            _render(renderables, to_stderr=False)

    def note(self, text: str) -> None:
        """Print a plain line to stderr; markup in it has no effect."""
        if not self.quiet and not self.json:
            print(printable(text), file=sys.stderr)

    def complain(self, message: str, hint: str = "") -> None:
        """Write an error and its hint, on stderr."""
        print(f"error: {brief(message)}", file=sys.stderr)
        if hint:
            print(f"  hint: {brief(hint)}", file=sys.stderr)

    def result(self, text: str) -> None:
        """Print a result line to stdout."""
        if not self.json:
            _write_out(printable(text))

    def emit(self, schema: str, fields: Mapping[str, object]) -> None:
        """Print the JSON object of a command to stdout, if JSON output was chosen."""
        if self.json:
            _write_out(json.dumps({"schema": schema, **fields}, indent=1, allow_nan=False, default=str))

    def begin(self, text: str) -> None:
        """Write what is begun, before modules are imported for it: the first line is there at once."""
        self.note(f"{text} …")

    @contextmanager
    def progress(self, stages: tuple[str, ...], effort: str | None = None) -> Iterator[Progress | None]:
        """Show how far a command has come: a bar on a terminal, lines elsewhere; yield None where nothing is shown.

        Args:
            stages: names of the passes that will run, in order.
            effort: how long they measure; None for the usual.
        """
        if self.quiet or self.json:
            yield None
            return
        from mosaic_onnx.cli.terminal.progress import bar_progress, expected, plain_progress

        shown = bar_progress if sys.stderr.isatty() else plain_progress
        with shown(expected(stages, (effort or "normal").lower())) as progress:
            yield progress


def _render(renderables: Sequence[RenderableType], *, to_stderr: bool) -> None:
    """Print renderables; off a terminal, as wide as they need.

    Raises:
        OutputClosed: nobody reads stdout any more.
    """
    from rich.console import Console
    from rich.table import Table

    from mosaic_onnx.cli.terminal.columns import Printable, show_whole

    console = Console(stderr=to_stderr, highlight=False)
    try:
        for renderable in renderables:
            if isinstance(renderable, Table):
                show_whole(console, renderable)
            else:
                console.print(Printable(renderable))
    except BrokenPipeError:
        if not to_stderr:
            raise OutputClosed from None


def _write_out(text: str) -> None:
    """Print to stdout at once, so that a closed pipe is seen here and not at the end of the process.

    Raises:
        OutputClosed: nobody reads stdout any more.
    """
    try:
        sys.stdout.write(f"{text}\n")  # at once: the line never runs into one of stderr
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None
