"""The time of the paper's whole evaluation, and the errors of its predictions."""

from __future__ import annotations

import tempfile
import time

from bench.report import Row
from mosaic_onnx.reproduce.run import reproduce


def run(quick: bool) -> list[Row]:
    """Return the rows of one run; ``quick`` is the reduced form and has no bar."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        report = reproduce(folder, quick=quick)
        seconds = time.perf_counter() - started
    rows = [Row("reproduce mosaic", seconds, "s", bar=None if quick else 300.0, note="one run, not a median")]
    rows += [
        Row(f"missed: {each.what}", 0.0 if each.met else 1.0, "bars", bar=0.5, note=each.detail)
        for each in report.verdicts
    ]
    return rows
