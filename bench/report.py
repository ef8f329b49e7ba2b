"""Rows of benchmarks: one figure each, printed as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = ["what", "value", "bar", "against", "ratio", "95 % interval", "met", "note"]


@dataclass(frozen=True)
class Row:
    """One measured figure.

    Attributes:
        name: the name of the figure.
        value: the figure (a median unless ``note`` says otherwise).
        unit: ms, s, ratio, MiB, …
        bar: the largest value that meets the bar; None where there is none.
        against: the name of the reference.
        ratio: value / the other's value in the same interleaved run.
        interval: 95 % interval of the ratio.
        note: repetitions, spread, further remarks.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    against: str = ""
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Return whether the bar is met; with an interval it fails only where the interval lies above the bar."""
        if self.bar is None:
            return None
        if self.unit == "ratio" and self.interval is not None:
            return self.interval[0] <= self.bar
        return self.value <= self.bar

    def cells(self) -> list[str]:
        """Return the row as text, a cell for each of ``COLUMNS``."""
        interval = f"{self.interval[0]:.3f}–{self.interval[1]:.3f}" if self.interval else ""
        met = {None: "", True: "yes", False: "NO"}[self.met]
        bar = "" if self.bar is None else f"≤ {self.bar:g}"
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        return [self.name, f"{self.value:.4g} {self.unit}", bar, self.against, ratio, interval, met, self.note]
