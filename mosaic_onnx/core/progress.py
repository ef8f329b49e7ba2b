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
    """

    stage: str
    device: str = ""
    done_count: int = 0
    total_count: int = 0


Progress = Callable[[Step], None]
"""Told at the begin of each pass, and after each measurement."""
