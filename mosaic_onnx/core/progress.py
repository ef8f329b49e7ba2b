"""Reports of a compilation under way: which pass runs, on which device, how many measurements are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A report.

    Attributes:
        stage: name of the pass that runs.
        device: the device that is measured; empty where none is.
        done_count: measurements of this stage that are done; stored ones count at once.
        total_count: measurements of this stage, as far as they are known; 0 where it counts none.
        share: of the stage's time that is over, as far as it knows: large measurements count more, and devices that
            were not begun count too; 0 where only measurements are counted.
    """

    stage: str
    device: str = ""
    done_count: int = 0
    total_count: int = 0
    share: float = 0.0


Progress = Callable[[Step], None]
"""Told at the begin of each pass, and after each measurement."""
Note = Callable[[str], None]
"""Told what was assumed, and what the user should hear."""


def say_nothing(text: str) -> None:
    """Drop a note."""
