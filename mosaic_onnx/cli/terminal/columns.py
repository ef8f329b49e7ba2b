"""Columns of tables: figures to the right, words to the left, names never broken over lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from mosaic_onnx.core.text.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

_FIGURE = re.compile(
    r"^(±|[+-])?[0-9][0-9.,]*(e[+-]?[0-9]+)?( ?(%|s|ms|µs|J|mJ|W|Hz|MHz|GHz|bytes|kB|MB|GB|mm²|/s))?"
    r"( ?\(.*\)| of \d+| / .*)?$"
)
"""A number, with a unit, an interval in brackets, or ``of`` how many."""
_NOTHING = ("", "–", "-", "n/a", "∞", "runs here")
LONGEST_WORD = 36
"""A longer name is shortened in its middle where the table would not fit."""


def justification(cells: Sequence[str]) -> Literal["left", "right"]:
    """Return ``right`` for a column of figures, else ``left``."""
    said = [cell for cell in cells if cell not in _NOTHING]
    return "right" if said and all(_FIGURE.match(cell) for cell in said) else "left"


def longest_word(cells: Sequence[str]) -> int:
    """Return the length of the longest word: a column that is at least so wide breaks none."""
    return max((len(word) for cell in cells for word in cell.split()), default=1)


def shortened(cell: str, length: int = LONGEST_WORD) -> str:
    """Return a text whose words are at most so long; what is left out of a word's middle is an ellipsis."""
    return " ".join(_short_word(word, length) for word in cell.split(" "))


def _short_word(word: str, length: int) -> str:
    if len(word) <= length:
        return word
    head = (length - 1) // 2
    return f"{word[:head]}…{word[len(word) - (length - 1 - head) :]}"


def show_whole(console: Console, table: Table) -> None:
    """Print a table; one that is wider than the screen keeps its words whole and runs over the edge."""
    width = max(console.width, console.measure(table).minimum)
    console.print(Printable(table), width=width, soft_wrap=False, crop=False, overflow="ignore")


class Printable:
    """Something to print whose text holds nothing that a terminal obeys: names in it come from files."""

    def __init__(self, inner: RenderableType) -> None:
        """Wrap it."""
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield its segments; styles are kept."""
        from rich.segment import Segment

        for text, style, control in console.render(self.inner, options):
            yield Segment(text if control else printable(text), style, control)
