"""Time that passes only when simulated work is done, so that no other load on the machine is seen in a figure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

TICK_S = 1e-5
"""Time goes on by so much whenever somebody looks at the clock."""


@dataclass
class SimulatedTime:
    """A clock in the place of ``time.perf_counter``; simulated work adds to ``now_s``."""

    now_s: float = 0.0

    def __call__(self) -> float:
        self.now_s += TICK_S
        return self.now_s


TIME = SimulatedTime()


def simulate_time(patch: Callable[[object, str, object], object]) -> None:
    """Put the simulated clock in the place of this process's clocks of seconds and of CPU time.

    Args:
        patch: sets an attribute of a module.
    """
    patch(time, "perf_counter", TIME)
    patch(time, "process_time", TIME)
