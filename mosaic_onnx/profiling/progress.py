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
        device_count: devices that are measured one after the other.
        device_number: the one that is measured now, from 0 on.
    """

    tell: Progress | None = None
    stage: str = "profile"
    device: str = ""
    done_count: int = 0
    total_count: int = 0
    device_count: int = 1
    device_number: int = 0
    _done_weight: float = 0.0
    _total_weight: float = 0.0

    def begin_device(self, number: int) -> None:
        """Turn to a device, counted from 0 on."""
        self.device_number = number
        self._done_weight = self._total_weight = 0.0

    def expect(self, count: int, weight: float = 1.0) -> None:
        """Add measurements to the total, each ``weight`` times as long as that of a layer."""
        self.total_count += count
        self._total_weight += count * weight
        self._call()

    def end(self, weight: float = 1.0) -> None:
        """Count one measurement."""
        self.done_count += 1
        self.total_count = max(self.total_count, self.done_count)
        self._done_weight += weight
        self._total_weight = max(self._total_weight, self._done_weight)
        self._call()

    @property
    def share(self) -> float:
        """Return the share of the time that is over; devices are taken to take equally long."""
        here = self._done_weight / self._total_weight if self._total_weight else 0.0
        return (self.device_number + here) / self.device_count

    def _call(self) -> None:
        if self.tell is not None:
            self.tell(Step(self.stage, self.device, self.done_count, self.total_count, self.share))
