"""``python -m tests.soak.scenario --minutes 10``: serve three networks on two devices of one core, by the wall clock.

The outputs of every Nth frame are compared with those of a first run; nothing may be wrong, fail or grow. Missed
deadlines are told: on a machine that does other things they say nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.many_models.workload import write_scenario
from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.pipeline.site.live import LiveSite, ServingOptions
from mosaic_onnx.pipeline.site.situations import read_situations
from mosaic_onnx.scenarios.search.genetic import SearchOptions
from mosaic_onnx.scenarios.serving.statistics import ScenarioStatistics
from mosaic_onnx.scenarios.solve import SchedulingOptions
from tests.soak.levels import Levels, leaks

ROOM = 1.25
"""The periods are so many times those that the schedule is predicted to keep."""
READ_EVERY_S = 10.0


def prepare(folder: Path, search_s: float) -> Path:
    """Write the networks and the scenario, and schedule it; return the site."""
    scenario = write_scenario(folder)
    cores = usable_cores()[:2]
    devices = [Device(f"core{core}", "onnxruntime", options={"cores": str(core), "threads": 1}) for core in cores]
    write_devices(devices, folder / "devices.toml")
    options = SchedulingOptions(search=SearchOptions(time_limit_s=search_s))
    site = folder / "site.mosaic"
    api.schedule_site(scenario, site, devices=[str(folder / "devices.toml")], options=options)
    return site


def serve(site: Path, minutes: float, check_every: int) -> list[str]:
    """Serve until the time is over and print the figures now and then; return what went wrong, a sentence each."""
    table = read_situations(site)
    multiplier = ROOM * table[frozenset()].multiplier
    readings: list[Levels] = []
    print("seconds   frames  late  dropped  failed  wrong  memory MiB", flush=True)
    with LiveSite(table, ServingOptions(multiplier, check_every=check_every)) as live:
        live.start()
        until_s = time.monotonic() + 60 * minutes
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, READ_EVERY_S))
            readings.append(Levels.now())
            print(_line(live.statistics(), readings[-1]), flush=True)
        live.stop()
        statistics, losses = live.statistics(), live.losses
    faults = [f"device {one.device} was lost: {one.reason}" for one in losses]
    for one in statistics.models:
        print(f"{one.name}: {one.frame_count} frames, missed {one.miss_share:.2%}, dropped {one.drop_share:.2%}")
        if one.failed_count or one.wrong_count or not one.completed_count:
            faults.append(f"{one.name}: {one.failed_count} failed, {one.wrong_count} wrong, {one.completed_count} done")
    return faults + (leaks(readings[1:]) if len(readings) > 3 else [])


def _line(statistics: ScenarioStatistics, levels: Levels) -> str:
    counts = [
        sum(getattr(one, f"{name}_count") for one in statistics.models)
        for name in ("frame", "late", "dropped", "failed", "wrong")
    ]
    words = "  ".join(f"{count:{width}}" for count, width in zip(counts, (7, 4, 7, 6, 5), strict=True))
    return f"{statistics.seconds:7.0f}  {words}  {levels.memory_bytes / 2**20:10.1f}"


def main() -> int:
    """Parse the command line, schedule and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.scenario", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--check-every", type=int, default=50)
    parser.add_argument("--search-seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mosaic-scenario-") as folder:
        site = prepare(Path(folder), options.search_seconds)
        faults = serve(site, options.minutes, options.check_every)
    print("\n".join(faults) or "nothing was wrong, nothing grew")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
