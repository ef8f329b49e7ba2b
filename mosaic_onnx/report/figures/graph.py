"""The graph: slice under slice, each layer in its device's colour. A click on a layer says why it is there."""

from __future__ import annotations

from bokeh.models import Range1d
from bokeh.plotting import figure

from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.figures.base import empty, source, with_hover
from mosaic_onnx.report.headline import milliseconds
from mosaic_onnx.report.layout import Layout, lay_out
from mosaic_onnx.report.palette import colour_of

ROW_PIXELS = 20
LEAST_PIXELS, MOST_PIXELS = 240, 900
LETTERS = 22
"""Letters of a layer's name in its box; the panel has the whole name."""


def graph_figure(content: ReportContent) -> figure:
    """Return the graph of layers.

    The glyphs ``layers`` and ``names`` are found by the page's script: one for clicks, one hidden while its letters
    would overlap.
    """
    drawn = lay_out(content.profile, content.proposal)
    plot = empty(
        "graph",
        height=int(min(max(drawn.height * ROW_PIXELS, LEAST_PIXELS), MOST_PIXELS)),
        tools="pan,wheel_zoom,box_zoom,zoom_in,zoom_out,reset,tap",
        x_range=Range1d(-drawn.width / 2 - 0.1, drawn.width / 2 + 0.1),
        y_range=Range1d(drawn.height + 0.5, -0.5),
    )
    plot.axis.visible = False
    plot.grid.visible = False
    _draw_bands(plot, content, drawn)
    _draw_edges(plot, drawn)
    _draw_layers(plot, content, drawn)
    return plot


def _draw_bands(plot: figure, content: ReportContent, drawn: Layout) -> None:
    """Draw each slice's ground, with its number, state and time."""
    slices = content.plan.slices
    colours = [colour_of(one.state, content.device_names) for one in slices]
    columns = source(
        top=[band.top for band in drawn.bands],
        bottom=[band.bottom for band in drawn.bands],
        left=[-drawn.width / 2 - 0.05] * len(slices),
        right=[drawn.width / 2 + 0.05] * len(slices),
        colour=colours,
        name=[
            f"slice {number} · {one.state} · {milliseconds(one.end_s - one.start_s)}"
            for number, one in enumerate(slices)
        ],
    )
    plot.quad(
        left="left", right="right", top="top", bottom="bottom", source=columns,
        fill_color="colour", fill_alpha=0.10, line_color="colour", line_alpha=0.5,
    )  # fmt: skip
    plot.text(
        x="left", y="top", text="name", source=columns, name="slice_names", tags=["ink"], x_offset=5, y_offset=4,
        text_baseline="top", text_font_size="12px", text_font_style="bold",
    )  # fmt: skip


def _draw_edges(plot: figure, drawn: Layout) -> None:
    columns = source(
        x0=[drawn.column[maker] for maker, _ in drawn.edges],
        y0=[drawn.row[maker] for maker, _ in drawn.edges],
        x1=[drawn.column[reader] for _, reader in drawn.edges],
        y1=[drawn.row[reader] for _, reader in drawn.edges],
    )
    plot.segment(x0="x0", y0="y0", x1="x1", y1="y1", source=columns, line_color="#8a8a8a", line_alpha=0.7)


def _draw_layers(plot: figure, content: ReportContent, drawn: Layout) -> None:
    columns = source(
        x=drawn.column,
        y=drawn.row,
        colour=[colour_of(one.state, content.device_names) for one in content.layers],
        name=[one.name for one in content.layers],
        short=[_short(one.name) for one in content.layers],
        state=[one.state for one in content.layers],
        operators=[" ".join(dict.fromkeys(one.op_types)) for one in content.layers],
    )
    boxes = plot.rect(
        x="x", y="y", width=0.86, height=0.74, source=columns, name="layers",
        fill_color="colour", fill_alpha=0.9, line_color=None,
        nonselection_fill_alpha=0.45, selection_line_color="#d5006c", selection_line_width=3,
    )  # fmt: skip
    plot.text(
        x="x", y="y", text="short", source=columns, name="names", text_align="center", text_baseline="middle",
        text_font_size="11px", text_color="#ffffff", nonselection_text_alpha=1.0,
    )  # fmt: skip
    with_hover(plot, [boxes], [("layer", "@name"), ("operators", "@operators"), ("on", "@state")])


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"
