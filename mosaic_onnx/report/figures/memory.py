"""Memory that the plan's slices need on each device: weights, and the largest scratch and activations of a slice."""

from __future__ import annotations

from dataclasses import dataclass

from bokeh.models import FactorRange
from bokeh.plotting import figure

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.figures.base import empty, legend_above, source, with_hover


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes that a plan needs on one device, and the device's cap (None where it has none)."""

    device: str
    parameter_bytes: int
    workspace_bytes: int
    activation_bytes: int
    cap_bytes: int | None


def memory_by_device(content: ReportContent) -> list[DeviceMemory]:
    """Return the memory of each device that the plan uses: all its slices' weights, and the rest of its largest slice.

    It is what the planner holds against ``memory_bytes`` (``planner.core.memory.check_memory``).
    """
    found = []
    caps = {device.name: device.memory_bytes for device in content.profile.devices}
    for name in dict.fromkeys(device_of(one.state) for one in content.plan.slices):
        needs = [
            slice_memory(content.table, placed)
            for placed, one in zip(content.proposal, content.plan.slices, strict=True)
            if device_of(one.state) == name
        ]
        largest = max(needs, key=lambda need: need.workspace + need.activations)
        weights = sum(need.parameters for need in needs)
        found.append(DeviceMemory(name, weights, largest.workspace, largest.activations, caps[name]))
    return found


def memory_figure(content: ReportContent) -> figure:
    """Return a bar for each device, in MB (10⁶)."""
    found = memory_by_device(content)
    names = [one.device for one in found]
    plot = empty("memory", height=46 * len(names) + 110, y_range=FactorRange(*reversed(names)), x_axis_label="MB")
    plot.x_range.start = 0
    plot.ygrid.visible = False
    parts = {
        "weights": ([one.parameter_bytes for one in found], "#0072b2"),
        "scratch": ([one.workspace_bytes for one in found], "#e69f00"),
        "activations": ([one.activation_bytes for one in found], "#009e73"),
    }
    left = [0.0] * len(names)
    for label, (amounts, colour) in parts.items():
        right = [start + amount / 1e6 for start, amount in zip(left, amounts, strict=True)]
        columns = source(
            device=names, left=left, right=right, amount=[f"{amount / 1e6:.3g} MB" for amount in amounts],
            what=[label] * len(names),
        )  # fmt: skip
        bars = plot.hbar(
            y="device", left="left", right="right", height=0.6, source=columns, color=colour, legend_label=label
        )
        with_hover(plot, [bars], [("@device", "@what @amount")])
        left = right
    capped = [one for one in found if one.cap_bytes is not None]
    if capped:
        columns = source(device=[one.device for one in capped], cap=[(one.cap_bytes or 0) / 1e6 for one in capped])
        plot.scatter(
            x="cap", y="device", source=columns, marker="dash", angle=1.5708, size=30, line_width=3, color="#d5006c",
            legend_label="cap",
        )  # fmt: skip
    legend_above(plot)
    return plot
