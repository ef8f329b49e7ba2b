"""Tables for terminals. Names and reasons are always escaped, so that markup in them has no effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from mosaic_onnx.cli.terminal.columns import LONGEST_WORD, justification, longest_word, shortened
from mosaic_onnx.core.text.quantities import bytes_text

if TYPE_CHECKING:
    from mosaic_onnx.api import Selection
    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.core.profiles import Profile

MANY = 40
"""Most rows of a table; the number of further rows is shown."""


_BOUND_UNITS = {"seconds": "ms", "joules": "mJ", "joule_seconds": "mJ·s"}
"""Thousandths of a bound's units, as the other figures are given."""


def milliseconds(seconds: float | None) -> str:
    """Return seconds as text in milliseconds; a dash for None."""
    return "–" if seconds is None else f"{seconds * 1e3:.4g} ms"


def megabytes(count: float | None) -> str:
    """Return bytes as text, in MB (10⁶) where they are many; a dash for None."""
    return "–" if count is None else bytes_text(count)


class WordTable(Table):
    """A table that knows what it was made from, to be made again with shorter words on a narrow screen."""

    def __init__(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], most: int | None) -> None:
        """Begin an empty table; ``table`` fills it."""
        super().__init__(title=escape(title), title_justify="left", caption_justify="left")
        self._content = title, columns, rows, most

    def with_words(self, length: int) -> Table:
        """Return the same table whose words are at most so long."""
        title, columns, rows, most = self._content
        made = table(title, columns, rows, most=most, length=length)
        made.caption = self.caption
        return made


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    most: int | None = None,
    length: int = LONGEST_WORD,
) -> Table:
    """Return a table with figures to the right and text to the left; words are never broken over lines.

    Args:
        title: above it.
        columns: their heads.
        rows: a cell a column.
        most: rows that are shown; the number of further ones stands below. None for all.
        length: longer words lose their middles.
    """
    rows = [tuple(row) for row in rows]
    made = WordTable(title, columns, rows, most)
    every = [[shortened(cell, length) for cell in row] for row in rows]
    shown = every if most is None or len(every) <= most + 1 else every[:most]
    for index, column in enumerate(columns):
        cells = [row[index] for row in shown]
        justify = justification(cells)
        whole = max(map(len, cells), default=0) if justify == "right" else 0  # a figure stays with its unit
        width = max(longest_word([column, *cells]), whole)
        made.add_column(column, justify=justify, min_width=width, overflow="fold")
    for row in shown:
        made.add_row(*(escape(cell) for cell in row))
    if len(shown) < len(every):
        made.caption = f"{len(every) - len(shown)} more rows: --json shows all"
    return made


def device_table(found: Selection) -> Table:
    """Return a table of the available devices."""
    chosen = {device.name for device in found.chosen}
    why = {absent.name: absent.reason for absent in found.left_out}
    rows = [
        (
            device.name,
            device.backend,
            device.precision,
            "simulated" if device.simulated else "real",
            ", ".join(level.name for level in device.levels) or "–",
            "takes part" if device.name in chosen else why.get(device.name, ""),
        )
        for device in found.devices
    ]
    return table("devices here", ("device", "backend", "precision", "kind", "levels", "by default"), rows)


def absent_table(found: Selection) -> Table:
    """Return a table of the devices that are not available, with the reasons."""
    rows = [(absent.name, absent.backend, absent.reason) for absent in found.absent]
    return table("not here", ("device", "backend", "why"), rows)


def profile_table(measured: Profile) -> Table:
    """Return a table of each device's total over the layers that it can run."""
    rows = []
    for state in measured.states:
        costs = [cost for layer in measured.layers if (cost := layer.cost.get(state)) is not None]
        sources = sorted({cost.source for cost in costs})
        total = milliseconds(sum(cost.seconds for cost in costs)) if costs else "–"
        rows.append((state, f"{len(costs)} of {len(measured.layers)}", total, ", ".join(sources) or "–"))
    return table(f"profile of {measured.model_name}", ("state", "layers", "sum", "source"), rows)


def plan_table(measured: Profile, planned: Plan) -> Table:
    """Return a table of the slices in order of their start, with the transfers that they wait for."""
    rows = []
    for number, one in enumerate(planned.slices):
        first, last = measured.layers[one.layers[0]].name, measured.layers[one.layers[-1]].name
        layers = first if len(one.layers) == 1 else f"{first} … {last}"
        parameter_bytes = sum(measured.layers[layer].parameter_bytes for layer in one.layers)
        span = milliseconds(one.end_s - one.start_s)
        rows.append((str(number), one.state, f"{len(one.layers)}", layers, span, megabytes(parameter_bytes)))
    return table("slices", ("slice", "state", "layers", "from … to", "predicted", "weights"), rows, most=MANY)


def singles_table(planned: Plan, singles: Mapping[str, Plan]) -> Table:
    """The plan beside every device that could run the whole model alone."""
    rows = []
    for name, one in {"plan": planned, **singles}.items():
        figures = one.predicted
        rows.append(
            (
                name,
                milliseconds(figures.seconds),
                "–" if figures.joules is None else f"{figures.joules * 1e3:.4g} mJ",
                milliseconds(figures.interval_seconds),
                f"{figures.seconds / planned.predicted.seconds:.3f}" if planned.predicted.seconds else "–",
            )
        )
    columns = ("candidate", "latency", "energy", "one every", "latency / plan's")
    return table("predicted: the plan and every single device", columns, rows)


def plan_line(planned: Plan) -> str:
    """Return a summary of the plan in one line."""
    predicted = planned.predicted
    words = [f"{planned.objective} plan ({planned.method}): predicted {milliseconds(predicted.seconds)}"]
    if predicted.joules is not None:
        words.append(f"{predicted.joules * 1e3:.4g} mJ")
    if planned.objective == "throughput":
        words.append(f"one every {milliseconds(predicted.interval_seconds)}")
    moved = sum(transfer.bytes for transfer in planned.transfers)
    words.append(f"{len(planned.slices)} slice{'' if len(planned.slices) == 1 else 's'}")
    if planned.replicas:
        words.append(f"again on {', '.join(planned.replicas)}")
    words.append(f"{len(planned.transfers)} transfers ({megabytes(moved)})")
    if planned.bound is not None:
        gap = "" if planned.gap is None else f", gap {planned.gap:.2%}"
        words.append(f"lower bound {planned.bound.value * 1e3:.4g} {_BOUND_UNITS[planned.bound.unit]}{gap}")
    return ", ".join(words)


def pareto_table(front: Sequence[Plan]) -> Table:
    """Return a table of the latency and energy of every plan of the front."""
    rows = [
        (
            milliseconds(one.predicted.seconds),
            f"{(one.predicted.joules or 0) * 1e3:.4g} mJ",
            str(len(one.slices)),
            "" if one.gap is None else f"{one.gap:.2%}",
        )
        for one in front
    ]
    return table("Pareto front", ("latency", "energy", "slices", "gap"), rows)
