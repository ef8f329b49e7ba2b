"""Tables of a served scenario, at the end and while it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mosaic_onnx.cli.views.tables import milliseconds, table

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.table import Table

    from mosaic_onnx.cli.console import Reporter
    from mosaic_onnx.scenarios.serving.statistics import ScenarioStatistics

Show = Callable[["ScenarioStatistics"], None]
Watch = Callable[[], "AbstractContextManager[Show | None]"]


def statistics_tables(statistics: ScenarioStatistics) -> list[Table]:
    """Return the models' rates, latencies and misses, and the devices' utilisation."""
    models = [
        (
            one.name,
            str(one.frame_count),
            f"{one.rate_hz:.1f}",
            *("–" if value is None else milliseconds(value) for value in (one.p50_s, one.p90_s, one.p99_s)),
            str(one.late_count),
            str(one.dropped_count),
            str(one.failed_count + one.wrong_count),
        )
        for one in statistics.models
    ]
    clock = "simulated" if statistics.is_simulated else "measured"
    columns = ("model", "frames", "per second", "median", "90 %", "99 %", "late", "dropped", "failed or wrong")
    devices = [(name, f"{share:.1%}") for name, share in statistics.utilisation.items()]
    return [
        table(f"{statistics.seconds:.1f} s ({clock})", columns, models),
        table("devices", ("device", "busy"), devices),
    ]


def live(reporter: Reporter) -> Watch:
    """Return a table on a terminal that is shown anew while a scenario is served; None elsewhere."""

    @contextmanager
    def watch() -> Iterator[Show | None]:
        if reporter.quiet or reporter.json or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console, Group
        from rich.live import Live

        with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as screen:
            yield lambda statistics: screen.update(Group(*statistics_tables(statistics)), refresh=True)

    return watch
