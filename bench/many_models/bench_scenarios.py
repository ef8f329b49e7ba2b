"""Many models at once: request frequency over the baselines, simulated against measured, on two one-core devices.

The simulated rows need no device; for the measured ones see ``bench.many_models.served``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.many_models.served import OURS, served_rows
from bench.records import Records
from bench.report import Row
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.reproduce.puzzle.compare import geometric_mean, outcome_of
from mosaic_onnx.reproduce.puzzle.random_scenarios import profiles_of, random_scenario
from mosaic_onnx.reproduce.workloads import highest_only

BASELINES = ("npu-only", "best-mapping", "mosaic-each", "band", "edf")


def run(quick: bool) -> list[Row]:
    """Return all rows; ``quick`` draws fewer scenarios and serves for less time."""
    records = Records.of("scenarios", quick=quick)
    rows = [*_simulated(records, 2 if quick else 10, 3.0 if quick else 5.0)]
    return [*rows, *served_rows("two cores", ["onnxruntime"], quick=quick)]


def _simulated(records: Records, count: int, time_limit_s: float) -> Iterator[Row]:
    """Compare α* on random scenarios on the described HiKey 970."""
    profiles = profiles_of(highest_only(read_shipped("hikey970")))
    outcomes: list[Mapping[str, Any]] = []
    for number in range(count):

        def schedule(number: int = number) -> Mapping[str, Any]:
            found = outcome_of(random_scenario(profiles, number, 0), time_limit_s, 0)
            return {"multipliers": dict(found.multipliers), "gap": found.gap}

        outcomes.append(records.once(f"simulated {number}, {time_limit_s:g} s", schedule))
    note = f"{count} scenarios of {time_limit_s:g} s, geometric mean, simulated"
    for name in BASELINES:
        over = geometric_mean([one["multipliers"][OURS] / one["multipliers"][name] for one in outcomes])
        yield Row(f"α*, ours over {name}", over.value, "ratio", 1.0, name, over.value, (over.low, over.high), note)
    gap = geometric_mean([1 + one["gap"] for one in outcomes])
    yield Row("α*, ours over the bound", gap.value, "ratio", None, "bound", gap.value, (gap.low, gap.high), note)
