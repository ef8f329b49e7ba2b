"""Where words go: results to stdout, progress and tables for people to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

ProgressCall = Callable[[int, int, float], None]
"""(measurements done, measurements in all as far as known, seconds left)."""


@dataclass(frozen=True)
class Reporter:
    """How much to say, and in which form.

    Attributes:
        json: one JSON object on stdout instead of words.
        quiet: nothing on stderr but errors.
        verbose: more on stderr.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def show(self, *renderables: RenderableType) -> None:
        """A table or words for people, on stderr."""
        if not self.quiet and not self.json:
            from rich.console import Console

            for renderable in renderables:
                Console(stderr=True, highlight=False).print(renderable)

    def note(self, text: str) -> None:
        """A plain line for people, on stderr; text of the user's is never read as markup."""
        if not self.quiet and not self.json:
            print(text, file=sys.stderr)

    def result(self, text: str) -> None:
        """A result line, on stdout."""
        if not self.json:
            print(text)

    def emit(self, schema: str, fields: Mapping[str, object]) -> None:
        """The JSON object of a command; nothing where words were asked for."""
        if self.json:
            print(json.dumps({"schema": schema, **fields}, indent=1, allow_nan=False, default=str))

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCall | None]:
        """A bar with the time left, on a terminal only; None where there is no bar."""
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
