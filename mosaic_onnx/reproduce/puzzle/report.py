"""The report as text and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mosaic_onnx.reproduce.puzzle.compare import Outcome, geometric_mean
from mosaic_onnx.reproduce.puzzle.random_scenarios import NETWORKS
from mosaic_onnx.scenarios.solve import SCHEDULERS

PUBLISHED = {"npu-only": 3.7, "best-mapping": 2.2}
"""Request frequency of Puzzle over these, on average (arXiv 2508.17764): another phone, other networks."""
LABELS = {
    "ours": "ours",
    "npu-only": "NPU Only",
    "best-mapping": "Best Mapping",
    "mosaic-each": "MOSAIC each",
    "band": "Band-like",
    "edf": "EDF",
}
PLOT = "multipliers.png"


def report_text(outcomes: Sequence[Outcome], words: str, seed: int, time_limit_s: float, plots: Sequence[str]) -> str:
    """Return the report in Markdown."""
    lines = [
        "# Many models at once (simulated schedules)",
        "",
        words,
        "α* is the least factor on all periods and deadlines at which XRBench's score",
        "(time only) is at least 95 of 100; smaller is better. The bound is proved: no schedule is satisfied below it.",
        "Networks, scenarios and search are defined here, since the paper's are not readable:",
        f"{', '.join(NETWORKS)}; two groups of one to three of them; a group's base period is the sum of its models'",
        "latencies on their best single device, its period 1, 1.5 or 2 times that, its deadline the period.",
        f"Seed {seed}, {time_limit_s:g} s of search for each scenario.",
        "",
        "| scenario | bound | " + " | ".join(LABELS[name] for name in SCHEDULERS) + " | above the bound |",
        "|" + " --- |" * (len(SCHEDULERS) + 3),
    ]
    for one in outcomes:
        figures = " | ".join(_figure(one, name) for name in SCHEDULERS)
        lines.append(f"| {one.number}: {one.words} | {one.bound:.3f} | {figures} | {one.gap:.1%} |")
    lines += ["", *_ratio_lines(outcomes), ""]
    lines += [f"![α* of every scheduler]({name})" for name in plots]
    return "\n".join(lines) + "\n"


def _figure(outcome: Outcome, scheduler: str) -> str:
    value = outcome.multipliers.get(scheduler)
    return "cannot run" if value is None else f"{value:.3f}"


def _ratio_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the geometric means of the ratios, beside what the paper states."""
    lines = [
        "How many times the request frequency ours sustains (geometric mean, 95 % bootstrap interval):",
        "",
        "| against | here | Puzzle's paper (another phone, other networks) |",
        "| --- | --- | --- |",
    ]
    for name in SCHEDULERS[1:]:
        ratios = [one.ratio(name) for one in outcomes if name in one.multipliers]
        if ratios:
            published = f"{PUBLISHED[name]} on average" if name in PUBLISHED else "–"
            lines.append(f"| {LABELS[name]} | {geometric_mean(ratios)} | {published} |")
    gaps = [1 + one.gap for one in outcomes]
    worse = [one.number for one in outcomes if any(one.ratio(name) < 1 for name in one.multipliers)]
    said = "on no scenario" if not worse else f"on scenarios {worse}"
    lines += ["", f"Ours over the bound: {geometric_mean(gaps)}. A baseline is better than ours {said}."]
    return lines


def draw(outcomes: Sequence[Outcome], folder: Path) -> str:
    """Draw α* of every scheduler on every scenario; the plot's name.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 4))
    width = 0.8 / len(SCHEDULERS)
    for place, name in enumerate(SCHEDULERS):
        at = [n + (place - len(SCHEDULERS) / 2) * width for n in range(len(outcomes))]
        axes.bar(at, [one.multipliers.get(name, 0.0) for one in outcomes], width, label=LABELS[name])
    for n, one in enumerate(outcomes):
        axes.hlines(one.bound, n - 0.45, n + 0.45, colors="black", linewidth=1.5, label="bound" if n == 0 else None)
    axes.set_xticks(range(len(outcomes)), [str(one.number) for one in outcomes])
    axes.set_xlabel("scenario")
    axes.set_ylabel("least period multiplier α* (simulated)")
    axes.legend(ncols=4, fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / PLOT, dpi=120)
    pyplot.close(figure)
    return PLOT
