"""Timelines: what each device does when, as predicted and as measured, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bokeh.models import FactorRange, Range1d
from bokeh.plotting import figure

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.profiles import HOST
from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.figures.base import empty, source, with_hover
from mosaic_onnx.report.headline import milliseconds
from mosaic_onnx.report.palette import HOST_COLOUR, colour_of

TRANSFERS = "transfers"
LANE_PIXELS, AXIS_PIXELS = 38, 60


@dataclass(frozen=True)
class Bar:
    """Something that a lane does from ``start_s`` to ``end_s``."""

    lane: str
    what: str
    place: str
    start_s: float
    end_s: float


def predicted_bars(content: ReportContent) -> list[Bar]:
    """Return the plan's slices and transfers."""
    plan = content.plan
    slices = [
        Bar(device_of(one.state), f"slice {number} on {one.state}", one.state, one.start_s, one.end_s)
        for number, one in enumerate(plan.slices)
    ]
    transfers = [
        Bar(TRANSFERS, f"{one.tensor}: {one.source} → {one.destination}", HOST, one.start_s, one.end_s)
        for one in plan.transfers
        if one.end_s > one.start_s
    ]
    return [*slices, *transfers]


def measured_bars(content: ReportContent) -> list[Bar]:
    """Return the spans of the measured run; none where there is none."""
    if content.trace is None:
        return []
    return [
        Bar(
            TRANSFERS if span.kind == "transfer" else span.lane,
            span.name if span.kind == "slice" else f"{span.kind} {span.name}",
            span.lane,
            span.start_s,
            span.end_s,
        )
        for span in content.trace.spans
    ]


def timeline_figures(content: ReportContent) -> dict[str, figure]:
    """Return the predicted timeline, and the measured one below it where there is one; both to one scale."""
    kinds = {"predicted": predicted_bars(content), "measured": measured_bars(content)}
    end_s = max((bar.end_s for bars in kinds.values() for bar in bars), default=0.0) or 1e-3
    shared = Range1d(0, end_s * 1e3 * 1.02)
    lanes = _lanes(content, [bar for bars in kinds.values() for bar in bars])
    return {kind: _draw(kind, bars, lanes, shared, content.device_names) for kind, bars in kinds.items() if bars}


def _lanes(content: ReportContent, bars: Sequence[Bar]) -> list[str]:
    """Return the lanes in use: devices in the profile's order, host, transfers."""
    used = {bar.lane for bar in bars}
    return [lane for lane in (*content.device_names, HOST, TRANSFERS) if lane in used]


def _draw(kind: str, bars: Sequence[Bar], lanes: Sequence[str], shared: Range1d, names: Sequence[str]) -> figure:
    plot = empty(
        f"timeline_{kind}",
        height=LANE_PIXELS * len(lanes) + AXIS_PIXELS,
        x_range=shared,
        y_range=FactorRange(*reversed(lanes)),
        x_axis_label=f"ms, {kind}",
    )
    plot.ygrid.visible = False
    columns = source(
        lane=[bar.lane for bar in bars],
        left=[bar.start_s * 1e3 for bar in bars],
        right=[bar.end_s * 1e3 for bar in bars],
        colour=[HOST_COLOUR if bar.lane == TRANSFERS else colour_of(bar.place, names) for bar in bars],
        what=[bar.what for bar in bars],
        took=[milliseconds(bar.end_s - bar.start_s) for bar in bars],
    )
    drawn = plot.hbar(
        y="lane", left="left", right="right", height=0.7, source=columns, fill_color="colour", line_color="#ffffff"
    )
    with_hover(plot, [drawn], [("", "@what"), ("took", "@took")])
    return plot
