"""An empty figure as all of the page's figures begin: no ground of its own, legible letters, no toolbar logo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import ColumnDataSource, HoverTool
from bokeh.plotting import figure

FONT_SIZE = "13px"
LONG_LABEL = 12
"""Letters of a label of which three do not fit side by side on a phone."""


def empty(name: str, *, height: int, tools: str = "", **options: Any) -> figure:
    """Return a figure without data.

    Args:
        name: its name in the page.
        height: pixels; the width is the page's.
        tools: Bokeh's names of tools; none are active at first, so that a finger scrolls the page.
        **options: of Bokeh's ``figure``.
    """
    made = figure(
        name=name,
        height=height,
        sizing_mode="stretch_width",
        tools=tools,
        toolbar_location="above" if tools else None,
        active_drag=None,
        active_scroll=None,
        active_inspect=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **options,
    )
    made.toolbar.logo = None
    for axis in made.axis:
        axis.axis_label_text_font_size = axis.major_label_text_font_size = FONT_SIZE
        axis.axis_label_text_font_style = "normal"
    return made


def with_hover(plot: figure, renderers: Sequence[Any], rows: Sequence[tuple[str, str]]) -> None:
    """Show ``rows`` of (label, ``@column``) where the pointer is; Bokeh escapes what the columns hold."""
    plot.add_tools(HoverTool(renderers=list(renderers), tooltips=list(rows)))


def source(**columns: Sequence[Any]) -> ColumnDataSource:
    """Return columns of equal length for a figure."""
    return ColumnDataSource({name: list(column) for name, column in columns.items()})


def legend_above(plot: figure) -> None:
    """Put the legend above the plot, in a line, where it covers nothing."""
    legend = plot.legend[0]
    legend.orientation = "horizontal"
    legend.label_text_font_size = FONT_SIZE
    legend.background_fill_alpha = 0
    legend.border_line_alpha = 0
    legend.padding = legend.margin = 2
    legend.ncols = 3 if max(len(item.label.value) for item in legend.items) < LONG_LABEL else 2
    plot.add_layout(legend, "above")
