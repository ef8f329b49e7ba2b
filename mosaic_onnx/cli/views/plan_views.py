"""Tables of a plan that is read from files: its transfers, and what could run instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mosaic_onnx.cli.views.tables import MANY, megabytes, milliseconds, table

if TYPE_CHECKING:
    from rich.table import Table

    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.report.gather import Subject


def transfer_table(planned: Plan) -> Table:
    """Return a table of the plan's transfers, the slowest first."""
    ordered = sorted(planned.transfers, key=lambda one: one.start_s - one.end_s)
    rows = [
        (one.tensor, one.source, one.destination, megabytes(one.bytes), milliseconds(one.end_s - one.start_s))
        for one in ordered
    ]
    return table("transfers", ("tensor", "from", "to", "size", "predicted"), rows, most=MANY)


def candidate_table(subject: Subject, alone: Mapping[str, Plan]) -> Table:
    """Return a table of the plan and of what could run instead, measured where the bundle tells it."""
    measured = subject.measured
    predicted = {"plan": subject.plan, **alone}
    if measured is not None and measured.delivered in alone:
        del predicted["plan"]
    names = dict.fromkeys([*predicted, *(measured.median_s if measured is not None else ())])
    simulated = {device.name for device in subject.profile.devices if device.simulated}
    rows = []
    for name in names:
        one = predicted.get(name)
        figure, spread = "–", "–"
        if measured is not None and name in measured.median_s:
            figure, spread = milliseconds(measured.median_s[name]), f"±{measured.spread.get(name, 0.0):.1%}"
        joules = None if one is None else one.predicted.joules
        rows.append(
            (
                f"{name} (simulated)" if name in simulated else name,
                milliseconds(None if one is None else one.predicted.seconds),
                "–" if joules is None else f"{joules * 1e3:.4g} mJ",
                figure,
                spread,
                "delivered" if measured is not None and name == measured.delivered else "",
            )
        )
    columns = ("candidate", "predicted", "energy", "measured median", "spread", "")
    kept = [index for index in range(len(columns)) if any(row[index] not in ("–", "") for row in rows)]
    made = table(
        "the plan and what could run instead",
        [columns[index] for index in kept],
        [[row[i] for i in kept] for row in rows],
    )
    made.caption = measured.reason if measured is not None else None
    return made
