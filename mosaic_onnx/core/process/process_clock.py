"""The clock of a time limit for a child process: on a busy machine, waiting for a core does not count."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

PATIENCE = 5.0
"""However busy the machine is, a limit ends after so many times its seconds."""
_PROC = Path("/proc")


class ProcessClock:
    """The seconds of a process since a moment, without those in which it was ready to run and got no core.

    A process that sleeps or loops for ever uses up its limit to the second; one that other programs hold up is given
    the time that they took. Where the system does not tell how long a thread waited (Linux does), every second counts.
    """

    def __init__(self, pid: int, began_s: float, *, is_new: bool, patience: float = PATIENCE) -> None:
        """Start the clock.

        Args:
            pid: the process.
            began_s: the moment, of the monotonic clock.
            is_new: the process was started since then, and everything that it waited counts.
            patience: the clock runs at least at this part of the wall clock's speed; 1 is the wall clock.
        """
        self._patience = patience
        self._pid = pid
        self._began_s = began_s
        self._before_s: Mapping[int, float] = {} if is_new else waited_s(pid)

    def elapsed_s(self) -> float:
        """Return the seconds since the moment, less the longest wait of one thread for a core."""
        wall_s = time.monotonic() - self._began_s
        now_s = waited_s(self._pid)
        held_up_s = max((waited - self._before_s.get(thread, 0.0) for thread, waited in now_s.items()), default=0.0)
        return max(wall_s - held_up_s, wall_s / self._patience)


def waited_s(pid: int) -> dict[int, float]:
    """Return how long each thread of a process was ready to run and got no core; empty where nobody tells."""
    found = {}
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            # The fields are the nanoseconds on a core, those of waiting for one, and a count (kernel: sched-stats.rst).
            found[int(thread.name)] = int((thread / "schedstat").read_text().split()[1]) * 1e-9
    except (OSError, ValueError, IndexError):
        return found
    return found
