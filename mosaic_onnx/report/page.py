"""The page: one HTML file that holds its figures, its script and its style, and asks for nothing from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files

from bokeh.embed import components
from bokeh.plotting import figure
from bokeh.resources import Resources
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mosaic_onnx import __version__
from mosaic_onnx.files.plan_file import plan_to_fields
from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.figures.front import front_figure
from mosaic_onnx.report.figures.graph import graph_figure
from mosaic_onnx.report.figures.layer_costs import layer_figure
from mosaic_onnx.report.figures.memory import memory_figure
from mosaic_onnx.report.figures.timeline import timeline_figures
from mosaic_onnx.report.headline import headline_of
from mosaic_onnx.report.tables import candidate_rows, gain_rows, plan_rows, transfer_rows
from mosaic_onnx.report.why import reasons_of


def figures_of(content: ReportContent) -> dict[str, figure]:
    """Return every figure that the content allows, by name."""
    drawn = {
        "graph": graph_figure(content),
        **timeline_figures(content),
        "layers": layer_figure(content),
        "memory": memory_figure(content),
    }
    front = front_figure(content)
    return drawn if front is None else {**drawn, "front": front}


def page_of(content: ReportContent) -> str:
    """Return the page as HTML.

    Names of layers and tensors come from untrusted models: the template escapes them, Bokeh draws them as text, and in
    JSON no ``<`` is left.
    """
    script, places = components(figures_of(content), wrap_script=False)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_asset("page.html"))
    return template.render(
        title=content.profile.model_name,
        headline=headline_of(content),
        plan_rows=plan_rows(content),
        candidates=candidate_rows(content),
        transfers=transfer_rows(content),
        gains=gain_rows(content),
        simulated=content.simulated,
        notes=content.notes,
        figures={name: Markup(place) for name, place in places.items()},
        data={"plan": _json(plan_to_fields(content.plan)), "reasons": _json(reasons_of(content))},
        style=Markup(_asset("page.css")),
        library=Markup(_library()),
        figure_script=Markup(script),
        script=Markup(_asset("page.js")),
        version=__version__,
    )


def _json(value: Mapping[str, object] | list[dict[str, object]]) -> Markup:
    """Return a value as JSON that cannot end the script element that it stands in."""
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))


def _library() -> str:
    """Return BokehJS, the core alone: tables, widgets and formulas are not used."""
    resources = Resources(mode="inline", components=["bokeh"], minified=True)
    return "\n".join(resources.js_raw)


def _asset(name: str) -> str:
    return files("mosaic_onnx.report").joinpath(name).read_text(encoding="utf-8")
