"""The plots of the report: the paper's Figures 3, 4 and 7 to 17, its printed numbers beside ours. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from mosaic_onnx.backends.simulated.backend import BACKEND
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.core.profiles import HOST
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.profiling.estimators.plots import draw_fits, save_figure
from mosaic_onnx.reproduce import paper
from mosaic_onnx.reproduce.accuracy import benchmark_points
from mosaic_onnx.reproduce.findings import Findings, Governed
from mosaic_onnx.reproduce.paper import DEVICES
from mosaic_onnx.reproduce.versions import BASE, EXHAUSTIVE, MOSAIC
from mosaic_onnx.reproduce.workloads import described_profile, layered
from mosaic_onnx.zoo import WORKLOADS

Series = Mapping[str, Sequence[float]]
Beside = Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""By comparison, the paper's figures and ours."""
MEAN = "Average"
PAPER = "the paper's"
FONT_POINTS = 13
NORMALISED: Mapping[Governed, str] = {
    "latency": "latency over TF-GPU-O (simulated)",
    "energy": "energy over TF-GPU-O (simulated)",
}


def draw_all(found: Findings, folder: Path) -> tuple[Path, ...]:
    """Write every plot into ``folder``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context({"font.size": FONT_POINTS}):
        drawn = [
            save_figure(layers_figure(energy=False), folder / "figure_03_layer_seconds.png"),
            save_figure(layers_figure(energy=True), folder / "figure_04_layer_joules.png"),
            _copies(folder),
            *_versions(found, folder),
            save_figure(reductions_figure(reductions_beside(found)), folder / "figures_08_to_13_reductions.png"),
            *_estimation(found, folder),
            *_planning(found, folder),
        ]
    return tuple(drawn)


def reductions_beside(found: Findings) -> Beside:
    """Return for each comparison that was run the paper's four reductions and ours, in per cent (axes: ``DEVICES``)."""
    printed = {
        "latency, large models": (paper.LATENCY_LARGE, "latency", found.large),
        "energy, large models": (paper.ENERGY_LARGE, "energy", found.large),
        "latency, small models": (paper.LATENCY_SMALL, "latency", found.small),
        "energy, small models": (paper.ENERGY_SMALL, "energy", found.small),
    }
    return {
        title: (tuple(theirs), found.reductions(cast("Governed", objective), large=names is found.large))
        for title, (theirs, objective, names) in printed.items()
        if names
    }


def reductions_figure(beside: Beside) -> Any:
    """Return a plot of how far MOSAIC is below each device-preferred version: the paper's figures beside ours."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(beside), figsize=(4.2 * len(beside), 4), layout="constrained", sharey=True)
    places = np.arange(len(DEVICES))
    for axis, (title, (theirs, ours)) in zip(np.atleast_1d(axes), beside.items(), strict=True):
        for offset, label, values, colour in ((-0.2, PAPER, theirs, "0.6"), (0.2, "ours, simulated", ours, "C0")):
            bars = axis.bar(places + offset, values, 0.4, label=label, color=colour)
            axis.bar_label(bars, fmt="%.0f", fontsize=FONT_POINTS - 2)
        axis.set_xticks(places, [device.upper() for device in DEVICES])
        axis.set(title=title, ylim=(0, 105))
    np.atleast_1d(axes)[0].set_ylabel("MOSAIC below the version that prefers …, %")
    np.atleast_1d(axes)[0].legend(loc="upper right")
    return figure


def _versions(found: Findings, folder: Path) -> list[Path]:
    """Draw Figures 8 to 13: versions normalised to TF-GPU-O, with the geometric mean."""
    governed = {suffix: [f"TF-{device.upper()}-{suffix}" for device in DEVICES] for suffix in ("P", "O")}
    all_versions = [*governed["P"], *governed["O"], EXHAUSTIVE, MOSAIC]
    plots: list[tuple[str, Governed, tuple[str, ...], list[str]]] = [
        ("figure_08_latency_large.png", "latency", found.large, all_versions),
        ("figure_09_energy_large.png", "energy", found.large, all_versions),
        ("figure_10_latency_components.png", "latency", found.large, [BASE, "HCA", MOSAIC]),
        ("figure_11_energy_components.png", "energy", found.large, [BASE, "HCA", "HCCA", MOSAIC]),
        ("figure_12_latency_small.png", "latency", found.small, all_versions),
        ("figure_13_energy_small.png", "energy", found.small, all_versions),
    ]
    return [
        _bars(folder / name, _codes(names), normalised(found, objective, names, versions), NORMALISED[objective])
        for name, objective, names, versions in plots
        if names
    ]


def normalised(found: Findings, objective: Objective, names: Sequence[str], versions: Sequence[str]) -> Series:
    """Return {version: its figure for every workload relative to TF-GPU-O's, then their geometric mean}."""
    base = found.outcomes.figures(names, objective, BASE)
    series = {}
    for version in versions:
        ratios = found.outcomes.figures(names, objective, version) / base
        series[version] = [*ratios.tolist(), float(np.exp(np.log(ratios).mean()))]
    return series


def _estimation(found: Findings, folder: Path) -> list[Path]:
    """Draw Figures 14 and 15."""
    drawn = []
    for number, objective in ((14, "latency"), (15, "energy")):
        series = {
            label: _with_mean([100 * abs(each.error) for each in errors if each.objective == objective])
            for label, errors in (("law of Equation 3", found.errors), ("bent law", found.bent_errors))
        }
        path = folder / f"figure_{number}_error_{objective}.png"
        printed = getattr(paper.OVERHEADS, f"error_{objective}")
        drawn.append(_bars(path, _codes(found.scope.workloads), series, "absolute error, % (simulated)", printed))
    return drawn


def _planning(found: Findings, folder: Path) -> list[Path]:
    """Draw Figures 16 and 17."""
    drawn = []
    for number, objective in ((16, "latency"), (17, "energy")):
        times = [each for each in found.planning if each.objective == objective]
        series = {"interval": _with_mean([1e3 * each.interval_s for each in times])}
        path = folder / f"figure_{number}_planning_{objective}.png"
        printed = getattr(paper.OVERHEADS, f"planning_{objective}_ms")
        drawn.append(_bars(path, _codes(found.scope.workloads), series, "planning, ms (measured here)", printed))
    return drawn


def layers_figure(*, energy: bool) -> Any:
    """Return Figure 3 or 4: each layer of MN-1.0 and MO-1.4 on each device at its highest level."""
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    devices = read_shipped("hikey970")
    figure, axes = pyplot.subplots(2, 1, figsize=(9, 6), layout="constrained")
    for axis, workload in zip(axes, ("mnasnet_1.0", "mobilenet_v2_1.4"), strict=True):
        profile = described_profile(layered(workload), devices)
        for device in devices:
            costs = [layer.cost.get(device.states[-1]) for layer in profile.layers]
            values = [np.nan if cost is None else (cost.joules if energy else cost.seconds) for cost in costs]
            axis.plot(range(1, len(values) + 1), 1e3 * np.array(values, dtype=float), marker="o", label=device.name)
        axis.set(title=WORKLOADS[workload].code, xlabel="layer", ylabel="mJ" if energy else "ms", yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(ncols=4)
    return figure


def _copies(folder: Path) -> Path:
    """Draw Figure 7: the simulated microbenchmark and the lines fitted to it (Equations 1 and 2)."""
    stream = np.random.Generator(np.random.PCG64(0))
    into = {copy.destination: copy for device in read_shipped("hikey970") for copy in BACKEND.copies(device)}
    points = {device: benchmark_points(copy, stream) for device, copy in into.items() if device != HOST}
    return draw_fits(points, folder / "figure_07_communication.png", "copy to the device, simulated")


def _bars(path: Path, groups: Sequence[str], series: Series, ylabel: str, printed: float | None = None) -> Path:
    """Draw grouped bars; the last group is the mean, beside the one that the paper prints where it prints one."""
    from matplotlib import pyplot

    labels = [*groups, MEAN]
    width = 0.8 / len(series)
    figure, axis = pyplot.subplots(figsize=(max(7.0, 1.3 * len(labels)), 4), layout="constrained")
    for index, (name, values) in enumerate(series.items()):
        places = np.arange(len(labels)) + (index - (len(series) - 1) / 2) * width
        axis.bar(places, values, width, label=name)
    if printed is not None:
        axis.axhline(printed, color="0.4", linestyle="--", label=f"{PAPER}: {printed:g} on average")
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylabel(ylabel)
    axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return save_figure(figure, path)


def _with_mean(values: list[float]) -> list[float]:
    return [*values, float(np.mean(values))]


def _codes(names: Sequence[str]) -> list[str]:
    return [WORKLOADS[name].code for name in names]
