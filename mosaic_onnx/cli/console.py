"""Output of commands: results to stdout, progress and tables to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


class OutputClosed(Exception):
    """The reader of stdout is gone (``| head -1``): there is nobody left to write to."""


ProgressCall = Callable[[int, int, float], None]
"""(measurements done, measurements in all as far as known, seconds left)."""


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
            print(text, file=sys.stderr)

    def complain(self, message: str, hint: str = "") -> None:
        """Write an error and its hint, on stderr."""
        print(f"error: {message}", file=sys.stderr)
        if hint:
            print(f"  hint: {hint}", file=sys.stderr)

    def result(self, text: str) -> None:
        """Print a result line to stdout."""
        if not self.json:
            _write_out(text)

    def emit(self, schema: str, fields: Mapping[str, object]) -> None:
        """Print the JSON object of a command to stdout, if JSON output was chosen."""
        if self.json:
            _write_out(json.dumps({"schema": schema, **fields}, indent=1, allow_nan=False, default=str))

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCall | None]:
        """Show a progress bar with the time left, on a terminal only; yield None where there is no bar."""
        if self.quiet or self.json or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=None, left="")

            def call(done: int, total: int, left_s: float) -> None:
                bar.update(task, completed=done, total=total, left=f"{left_s:.0f} s left")

            yield call


def _render(renderables: Sequence[RenderableType], *, to_stderr: bool) -> None:
    """Print renderables; off a terminal, as wide as they need.

    Raises:
        OutputClosed: nobody reads stdout any more.
    """
    from rich.console import Console
    from rich.table import Table

    from mosaic_onnx.cli.terminal.columns import show_whole

    console = Console(stderr=to_stderr, highlight=False)
    try:
        for renderable in renderables:
            if isinstance(renderable, Table):
                show_whole(console, renderable)
            else:
                console.print(renderable)
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
