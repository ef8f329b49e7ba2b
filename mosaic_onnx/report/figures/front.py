"""The front of latency and energy, with the plan and the single devices in it."""

from __future__ import annotations

from collections.abc import Iterable

from bokeh.plotting import figure

from mosaic_onnx.core.plans import Plan
from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.figures.base import empty, legend_above, source, with_hover
from mosaic_onnx.report.palette import colour_of


def front_figure(content: ReportContent) -> figure | None:
    """Return latency against energy; None where the profile has no joules."""
    if not content.front:
        return None
    plot = empty("front", height=360, x_axis_label="ms", y_axis_label="mJ", tools="pan,wheel_zoom,box_zoom,reset")
    ordered = sorted(content.front, key=lambda one: one.predicted.seconds)
    line = _columns((f"{len(one.slices)} slices", one) for one in ordered)
    plot.step(x="ms", y="mj", source=line, line_color="#8a8a8a", line_width=2, mode="after")
    marks = [plot.scatter(x="ms", y="mj", source=line, size=8, color="#8a8a8a", legend_label="front")]
    for name, one in content.singles.items():
        colour = colour_of(name, content.device_names)
        at = _columns([(f"{name} alone", one)])
        marks.append(plot.scatter(x="ms", y="mj", source=at, size=11, marker="square", color=colour, legend_label=name))
    at = _columns([(f"this plan ({content.plan.objective})", content.plan)])
    marks.append(
        plot.scatter(
            x="ms", y="mj", source=at, size=20, marker="star", color="#d5006c", legend_label="this plan",
        )
    )  # fmt: skip
    with_hover(plot, marks, [("", "@what"), ("", "@ms{0.000} ms, @mj{0.000} mJ")])
    legend_above(plot)
    return plot


def _columns(plans: Iterable[tuple[str, Plan]]) -> object:
    known = [(what, one.predicted) for what, one in plans if one.predicted.joules is not None]
    return source(
        what=[what for what, _ in known],
        ms=[one.seconds * 1e3 for _, one in known],
        mj=[(one.joules or 0.0) * 1e3 for _, one in known],
    )
