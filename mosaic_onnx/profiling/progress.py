"""Count measurements and report them as they are done."""

from __future__ import annotations

from dataclasses import dataclass

from mosaic_onnx.core.progress import Progress, Step

__all__ = ["Progress", "Ticker"]


@dataclass
class Ticker:
    """Counts measurements and reports the progress; stored measurements count as done at once.

    Attributes:
        tell: called with the progress; None for no reports.
        stage: name of the pass that measures.
        device: the device that is measured now.
        done_count: how many measurements are done.
        total_count: number of measurements in all, as far as known.
    """

    tell: Progress | None = None
    stage: str = "profile"
    device: str = ""
    done_count: int = 0
    total_count: int = 0

    def expect(self, count: int) -> None:
        """Add measurements to the total."""
        self.total_count += count
        self._call()

    def end(self) -> None:
        """Count one measurement."""
        self.done_count += 1
        self.total_count = max(self.total_count, self.done_count)
        self._call()

    def _call(self) -> None:
        if self.tell is not None:
            self.tell(Step(self.stage, self.device, self.done_count, self.total_count))
