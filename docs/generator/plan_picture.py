"""Draw the plan of the first page: ``python -m docs.generator.plan_picture PROFILE.json -o docs/images/plan.svg``.

The picture of this repository is that of a profile that anybody can make:
``python examples/zoo.py mnasnet_1.0 -o m.onnx; mosaic-onnx profile m.onnx -d hikey970 -o m.profile.json``.
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.report.palette import HOST_COLOUR, colour_of

WIDTH, LEFT, LAYERS_TOP, LAYER_HEIGHT, LANES_TOP, LANE_HEIGHT = 900, 90, 46, 34, 96, 34
STYLE = """text{font:13px system-ui,sans-serif;fill:#1c1e21}.quiet{fill:#5b6068}line{stroke:#d9dce1}
@media(prefers-color-scheme:dark){text{fill:#e8eaee}.quiet{fill:#a6adb8}line{stroke:#343943}}"""


def picture_of(profile: Profile, plan: Plan) -> str:
    """Return an SVG: the layers in the plan's order, coloured by device, above each device's timeline."""
    names = [device.name for device in profile.devices]
    lanes = [name for name in names if any(device_of(one.state) == name for one in plan.slices)] + ["transfers"]
    height = LANES_TOP + LANE_HEIGHT * len(lanes) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(_title(profile, plan))}</title><style>{STYLE}</style>",
        f'<text x="{LEFT}" y="22">{escape(_title(profile, plan))}</text>',
        *_layers(profile, plan, names),
        *_timeline(plan, names, lanes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _title(profile: Profile, plan: Plan) -> str:
    simulated = ", simulated" if any(device.simulated for device in profile.devices) else ""
    figures = f"{plan.predicted.seconds * 1e3:.3g} ms{simulated}"
    return f"{profile.model_name}: {len(profile.layers)} layers, {len(plan.slices)} slices, {figures}"


def _layers(profile: Profile, plan: Plan, names: list[str]) -> list[str]:
    """Return a cell for each layer, in the plan's order; a gap between slices."""
    gap = 8
    step = (WIDTH - LEFT - 10 - gap * (len(plan.slices) - 1)) / len(profile.layers)
    parts = [f'<text x="{LEFT - 8}" y="{LAYERS_TOP + 22}" text-anchor="end" class="quiet">layers</text>']
    x = float(LEFT)
    for one in plan.slices:
        for layer in one.layers:
            what = escape(f"{profile.layers[layer].name} on {one.state}")
            parts.append(
                f'<rect x="{x:.1f}" y="{LAYERS_TOP}" width="{step - 1:.1f}" height="{LAYER_HEIGHT}" rx="1.5" '
                f'fill="{colour_of(one.state, names)}"><title>{what}</title></rect>'
            )
            x += step
        x += gap
    return parts


def _timeline(plan: Plan, names: list[str], lanes: list[str]) -> list[str]:
    """Return a bar for each slice and transfer, on the lane of its device."""
    scale = (WIDTH - LEFT - 10) / (plan.predicted.seconds or 1.0)
    bars = [(device_of(one.state), one.state, one.start_s, one.end_s) for one in plan.slices]
    bars += [("transfers", one.tensor, one.start_s, one.end_s) for one in plan.transfers if one.end_s > one.start_s]
    parts = []
    for number, lane in enumerate(lanes):
        y = LANES_TOP + LANE_HEIGHT * number
        parts.append(f'<text x="{LEFT - 8}" y="{y + 21}" text-anchor="end" class="quiet">{escape(lane)}</text>')
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y + LANE_HEIGHT}" y2="{y + LANE_HEIGHT}"/>')
    for lane, what, start_s, end_s in bars:
        y = LANES_TOP + LANE_HEIGHT * lanes.index(lane)
        colour = HOST_COLOUR if lane == "transfers" else colour_of(lane, names)
        parts.append(
            f'<rect x="{LEFT + start_s * scale:.1f}" y="{y + 5}" width="{max((end_s - start_s) * scale, 0.8):.1f}" '
            f'height="{LANE_HEIGHT - 10}" rx="2" fill="{colour}"><title>{escape(what)}</title></rect>'
        )
    bottom = LANES_TOP + LANE_HEIGHT * len(lanes) + 22
    parts.append(f'<text x="{LEFT}" y="{bottom}" class="quiet">0 ms</text>')
    end = f"{plan.predicted.seconds * 1e3:.3g} ms"
    return [*parts, f'<text x="{WIDTH - 10}" y="{bottom}" text-anchor="end" class="quiet">{end}</text>']


def main() -> None:
    """Draw the plan of a profile."""
    from mosaic_onnx.files.profile_file import read_profile

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("profile", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--schedule", choices=("sequential", "concurrent"), default="sequential")
    words = parser.parse_args()
    profile = read_profile(words.profile)
    plan = plan_profile(profile, Request(schedule=words.schedule))
    words.output.write_text(picture_of(profile, plan), encoding="utf-8")


if __name__ == "__main__":
    main()
