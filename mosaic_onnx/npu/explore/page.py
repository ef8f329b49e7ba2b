"""The report of an exploration: one HTML file that needs nothing else."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.npu.explore.explore import Exploration

_STYLE = """body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .8em; text-align: right }
th:first-child, td:first-child { text-align: left } tr.front { font-weight: bold }
thead { border-bottom: 2px solid #888 } svg { max-width: 100%; height: auto }"""


def page_of(found: Exploration) -> str:
    """Return the report: what was swept, the front drawn, every point in a table.

    Raises:
        UsageError: matplotlib is absent.
    """
    energy = "the whole plan" if found.has_plan_joules else "the layers that the NPU can run, on it"
    parts = [
        f"<h1>{escape(found.base.name)} with other sizes (emulated)</h1>",
        f"<p>{escape(found.base.summary)}</p>",
        f"<p>Models: {escape(', '.join(found.models))}, one run each; beside the NPU: "
        f"{escape(', '.join(found.devices))}. Latency is the planner's for the cut between these devices and the NPU, "
        f"every operator of the NPU in its best mapping. Energy is that of {energy}. Areas are the description's. "
        "Nothing was measured on an NPU.</p>",
        _picture(found),
        "<h2>Every point</h2>",
        "<p>Bold: no other point is as good in latency, energy and area.</p>",
        _points_table(found),
        *(_model_table(found, place) for place in range(len(found.models))),
    ]
    title = f"{escape(found.base.name)}: exploration"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _points_table(found: Exploration) -> str:
    axes = list(found.points[0].settings)
    rows = []
    for place, point in enumerate(found.points):
        if point.failure:
            figures = [escape(point.failure), "–"]
        else:
            figures = [f"{point.seconds * 1e3:.4g}", f"{point.joules * 1e3:.4g}"]
        area = "–" if point.area_mm2 is None else f"{point.area_mm2:.3g}"
        cells = [*(escape(point.settings[axis]) for axis in axes), *figures, area]
        rows.append((cells, place in found.front))
    return _table([*axes, "latency (ms)", "energy (mJ)", "area (mm²)"], rows)


def _model_table(found: Exploration, number: int) -> str:
    """Return one model's cuts on the points of the front."""
    rows = []
    for place in found.front:
        one = found.points[place].outcomes[number]
        cells = [
            escape(", ".join(found.points[place].settings.values()) or "as it is"),
            f"{one.seconds * 1e3:.4g}",
            "–" if one.bound_seconds is None else f"{one.bound_seconds * 1e3:.4g}",
            str(one.slice_count),
            f"{one.npu_layer_count} of {one.layer_count}",
            f"{one.runnable_layer_count}: {one.runnable_seconds * 1e3:.4g} ms",
        ]
        rows.append((cells, False))
    columns = ["point of the front", "plan (ms)", "proved bound (ms)", "slices", "layers on the NPU", "it could run"]
    return f"<h2>{escape(found.models[number])}</h2>" + _table(columns, rows)


def _table(columns: list[str], rows: list[tuple[list[str], bool]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "\n".join(
        f"<tr{' class=front' if is_marked else ''}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for cells, is_marked in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _picture(found: Exploration) -> str:
    """Return latency over energy of all points as SVG, the area as the marker's colour."""
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    usable = [(place, point) for place, point in enumerate(found.points) if point.outcomes]
    x, y = [point.seconds * 1e3 for _, point in usable], [point.joules * 1e3 for _, point in usable]
    areas = [point.area_mm2 for _, point in usable]
    colour: Any = areas if areas and None not in areas else "C0"
    drawn = axes.scatter(x, y, c=colour, s=36, label="points")
    if not isinstance(colour, str):
        figure.colorbar(drawn, label="area (mm²)")
    front = [(each_x, each_y) for (place, _), each_x, each_y in zip(usable, x, y, strict=True) if place in found.front]
    axes.scatter(
        [one[0] for one in front],
        [one[1] for one in front],
        s=110,
        facecolors="none",
        edgecolors="black",
        label="front",
    )
    axes.set(xlabel="latency (ms)", ylabel="energy (mJ)", title=f"{found.base.name}, swept (emulated)")
    if x and min(x) > 0 and min(y) > 0:
        axes.set(xscale="log", yscale="log")
    axes.legend()
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mosaic-onnx"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise UsageError("the report's picture needs matplotlib", "pip install 'mosaic-onnx[report]'") from None
    return matplotlib
