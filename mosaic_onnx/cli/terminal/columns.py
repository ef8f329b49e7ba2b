"""Columns of tables: figures to the right, words to the left, names never broken over lines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

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
"""A longer name is shortened in its middle."""
ANY_WIDTH = 10_000
"""Columns; no table needs so many."""
SHORTER = (28, 20, 14, 12, 10)
"""Lengths to which words are shortened, one after the other, where a table is wider than the screen."""


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


def hanging(head: str, text: str, width: int | None) -> str:
    """Return a text behind its head, further lines below the text's beginning; words stay whole.

    Args:
        head: printed as it is.
        text: one paragraph.
        width: of the screen; None for one line, where no screen is.
    """
    if width is None or len(head) + len(text) <= width:
        return head + text
    fits = max(width - len(head), longest_word([text]))
    lines = textwrap.wrap(text, fits, break_long_words=False, break_on_hyphens=False)
    return head + f"\n{' ' * len(head)}".join(lines)


@runtime_checkable
class CanShorten(Protocol):
    """A table that can be made again with shorter words."""

    def with_words(self, length: int) -> Table:
        """Return the same table whose words are at most so long."""


def show_whole(console: Console, table: Table) -> None:
    """Print a table; on a narrow terminal its longest words lose their middles, and what is still too wide runs over.

    Off a terminal every name stays whole.
    """
    made = table
    if console.is_terminal and isinstance(table, CanShorten):
        for length in SHORTER:
            if _least_width(console, made) > console.width:
                made = table.with_words(length)
    width = max(console.width, _least_width(console, made))
    console.print(Printable(made), width=width, crop=False)


def _least_width(console: Console, table: Table) -> int:
    """Return the columns that a table needs for its words to stay whole."""
    on_any_screen = console.options.update(max_width=ANY_WIDTH)  # a measure never exceeds the screen that it is told
    return console.measure(table, options=on_any_screen).minimum


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
