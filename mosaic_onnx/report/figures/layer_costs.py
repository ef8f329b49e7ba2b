"""Seconds of every layer in every device's state; the one that the plan chose is filled."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.models import BasicTicker, NumeralTickFormatter
from bokeh.plotting import figure

from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.figures.base import empty, legend_above, source, with_hover
from mosaic_onnx.report.headline import milliseconds
from mosaic_onnx.report.palette import colour_of


def states_shown(content: ReportContent) -> list[str]:
    """Return the states that the plan uses, and the highest level of every other device."""
    used = {one.state for one in content.plan.slices}
    shown = []
    for device in content.profile.devices:
        own = [state for state in device.states if state in used]
        shown += own or [device.states[-1]]
    return shown


def layer_figure(content: ReportContent) -> figure:
    """Return a mark for each layer and state shown, over the layers' order in the profile."""
    plot = empty(
        "layer_costs",
        height=340,
        tools="pan,wheel_zoom,box_zoom,reset",
        x_axis_label="layer",
        y_axis_label="ms",
    )
    plot.y_range.start = 0
    plot.xaxis.ticker = BasicTicker(mantissas=[1, 2, 5], min_interval=1)
    plot.xaxis.formatter = NumeralTickFormatter(format="0")
    plot.xgrid.visible = False
    marks = [_draw(plot, content, state) for state in states_shown(content)]
    with_hover(plot, marks, [("layer", "@index: @name"), ("@state", "@took"), ("", "@chosen")])
    legend_above(plot)
    return plot


def _draw(plot: figure, content: ReportContent, state: str) -> object:
    costs = [(index, layer.cost.get(state)) for index, layer in enumerate(content.profile.layers)]
    found: Sequence[tuple[int, float]] = [(index, cost.seconds) for index, cost in costs if cost is not None]
    chosen = [content.layers[index].state == state for index, _ in found]
    columns = source(
        index=[index for index, _ in found],
        ms=[seconds * 1e3 for _, seconds in found],
        name=[content.profile.layers[index].name for index, _ in found],
        state=[state] * len(found),
        took=[milliseconds(seconds) for _, seconds in found],
        chosen=["chosen" if each else "" for each in chosen],
        alpha=[0.95 if each else 0.12 for each in chosen],
        size=[9 if each else 7 for each in chosen],
    )
    colour = colour_of(state, content.device_names)
    return plot.scatter(
        x="index", y="ms", size="size", source=columns, legend_label=state,
        fill_color=colour, fill_alpha="alpha", line_color=colour, line_width=1.5,
    )  # fmt: skip
