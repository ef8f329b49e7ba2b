"""``python -m tests.soak --minutes 30``: compile, run, break and kill until the time is over; nothing may grow."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.activities import Soak
from tests.soak.levels import Levels, leaks

WARM_UP_ROUNDS = 3


def soak(minutes: float, seed: int, folder: Path) -> list[str]:
    """Run rounds until the time is over and print the levels after each; returns what grew."""
    work = Soak(folder, random.Random(seed))
    work.prepare()
    readings: list[Levels] = []
    until_s = time.monotonic() + 60 * minutes
    print("round   memory MiB  descriptors  threads  temporary  children")
    while time.monotonic() < until_s or len(readings) < WARM_UP_ROUNDS + 3:
        work.round()
        readings.append(Levels.now())
        one = readings[-1]
        print(
            f"{len(readings):5}  {one.memory_bytes / 2**20:11.1f}  {one.descriptor_count:11}  {one.thread_count:7}  "
            f"{one.temporary_count:9}  {one.child_count:8}",
            flush=True,
        )
    return leaks(readings[WARM_UP_ROUNDS:])


def main() -> int:
    """Parse the command line and soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mosaic-soak-") as folder:
        (Path(folder) / "work").mkdir()
        (Path(folder) / "temporary").mkdir()
        tempfile.tempdir = str(Path(folder) / "temporary")
        grown = soak(options.minutes, options.seed, Path(folder) / "work")
        tempfile.tempdir = None
    print("\n".join(grown) or "nothing grew")
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())
