"""Progress of long commands: a bar with the stage's name on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mosaic_onnx.cli.terminal.remaining import EXPECTED_S, Remaining
from mosaic_onnx.core.progress import Progress, Step

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

STAGES = {
    "load": "checking",
    "normalise": "checking",
    "read_inputs": "checking",
    "layerize": "checking",
    "set_levels": "asking devices",
    "annotate": "asking devices",
    "profile": "measuring layers",
    "measure_errors": "measuring errors",
    "constrain": "planning",
    "feedback": "planning",
    "estimate": "planning",
    "plan": "planning",
    "measure_slices": "measuring slices",
    "time_plan": "running the plan",
    "keep_budget": "planning within the budget",
    "rewrite": "cutting",
    "judge_errors": "judging errors",
    "select": "running the candidates",
    "correct": "proving",
    "verify": "proving",
}
"""The words shown for each pass."""
EVERY_S = 3.0
"""Seconds between plain lines."""
PROFILE_STAGES = ("load", "normalise", "read_inputs", "layerize", "annotate", "profile")
COMPILE_STAGES = (*PROFILE_STAGES, "feedback", "rewrite", "select", "correct", "verify")
WITHIN_BUDGET = (*PROFILE_STAGES, "measure_errors", "keep_budget", "rewrite", "judge_errors", "select", "verify")


EFFORT_FACTORS: Mapping[str, Mapping[str, float]] = {
    "quick": {"profile": 0.25, "feedback": 0.2, "keep_budget": 0.2, "select": 0.25},
    "thorough": {"profile": 2.0, "feedback": 3.0, "keep_budget": 2.0, "select": 3.0},
}
"""By effort and pass, how many times the usual time it takes; loading and proving take the same."""


def expected(stages: tuple[str, ...], effort: str = "normal") -> dict[str, float]:
    """Return the expected seconds of some stages at an effort."""
    factors = EFFORT_FACTORS.get(effort, {})
    return {name: EXPECTED_S[name] * factors.get(name, 1.0) for name in stages}


def words_of(step: Step) -> str:
    """Return what is shown of a step: ``measuring layers 12/57 on cpu``."""
    words = STAGES.get(step.stage, step.stage)
    if step.total_count:
        words += f" {step.done_count}/{step.total_count}"
    return f"{words} on {step.device}" if step.device else words


def left_text(remaining: Remaining) -> str:
    """Return the time that is left as text; empty where nothing is known of it."""
    return f"about {max(1.0, remaining.left_s):.0f} s left" if remaining.stages else ""


@dataclass
class PlainLines:
    """Writes a line when a stage begins and every few seconds.

    Attributes:
        remaining: the estimate.
        write: takes a line.
        clock: returns seconds.
    """

    remaining: Remaining
    write: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _last_s: float = field(default=float("-inf"))
    _shown: str = ""

    def __call__(self, step: Step) -> None:
        """Take note of a step."""
        self.remaining.tell(step)
        stage = STAGES.get(step.stage, step.stage)
        now_s = self.clock()
        if stage == self._shown and now_s - self._last_s < EVERY_S:
            return
        if stage != self._shown and now_s - self._last_s < EVERY_S / 10:
            return
        self._shown, self._last_s = stage, now_s
        self.write(", ".join(filter(None, (words_of(step), left_text(self.remaining)))))


@contextmanager
def plain_progress(stages: Mapping[str, float]) -> Iterator[Progress]:
    """Write lines to stderr."""
    yield PlainLines(Remaining(stages), lambda line: print(line, file=sys.stderr, flush=True))


@contextmanager
def bar_progress(stages: Mapping[str, float]) -> Iterator[Progress]:
    """Show one bar for the whole, with the stage's name; it goes on between steps, and is gone at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    remaining = Remaining(stages)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking", total=1.0, left="")
        over = threading.Event()

        def call(step: Step) -> None:
            remaining.tell(step)
            bar.update(task, description=words_of(step))

        def refresh() -> None:
            while not over.wait(0.25):
                _update(bar, task, remaining)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield call
        finally:
            over.set()
            thread.join()


def _update(bar: Bar, task: int, remaining: Remaining) -> None:
    from rich.progress import TaskID

    bar.update(TaskID(task), completed=remaining.done, left=left_text(remaining))
