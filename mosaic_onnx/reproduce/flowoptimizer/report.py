"""The report as text and as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.search.dataflow import BEST
from mosaic_onnx.reproduce.flowoptimizer.compare import (
    DATAFLOWS,
    HARDWARE,
    OBJECTIVES,
    UNITS,
    Comparison,
    gain,
    genetic_distance,
)

PUBLISHED = {"nvdla": "87.1 %", "eyeriss": "92.3 %"}
"""The paper's gain of its searched model over the models searched with these dataflows, on average."""
TITLES: Mapping[Objective, str] = {"latency": "Latency", "energy": "Energy", "edp": "Energy-delay product"}
PLOTS = ("dataflows.png", "genetic.png")


def report_text(comparisons: Sequence[Comparison], plots: Sequence[str]) -> str:
    """Return the report in Markdown."""
    hardware = load_hardware(HARDWARE)
    gap = max(one.gap for one in comparisons)
    lines = [
        "# The best dataflow of each operator against fixed ones",
        "",
        f"All figures are emulated: {hardware.summary};",
        "nothing was measured on hardware. Every mapping of an operator is searched exactly (`docs/npu.md`), capacity",
        "enforced. The fixed dataflows are parts of the same space with their best tiles, which is kinder to them than",
        f"fixed tiles would be. The largest gap of any certificate is {gap:.1%}.",
        "",
        "## Gain of the best dataflow",
        "",
        "The paper's figures are of *models searched* with a dataflow in the loop: its search also picks other",
        "operators, and fewer of them. Ours are of the *same operators* in another dataflow, so the columns are not",
        "the same thing and need not agree.",
        "",
        "| over | objective | mean of operators | of the sum | largest | the paper's (searched models) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for dataflow in DATAFLOWS:
        for objective in OBJECTIVES:
            found = gain(comparisons, objective, dataflow)
            paper = PUBLISHED.get(dataflow, "–") if objective == "latency" else "–"
            figures = f"{found.mean:.1%} | {found.total:.1%} | {found.largest:.1%}"
            lines.append(f"| {dataflow} | {objective} | {figures} | {paper} |")
    lines += ["", *_genetic_lines(comparisons)]
    for objective in OBJECTIVES:
        lines += ["", *_table(comparisons, objective)]
    lines += ["", *(f"![{name}]({name})" for name in plots)]
    return "\n".join(lines) + "\n"


def _table(comparisons: Sequence[Comparison], objective: Objective) -> list[str]:
    """Return every operator's figures for one objective."""
    names = (*DATAFLOWS, BEST)
    lines = [
        f"## {TITLES[objective]} ({UNITS[objective]})",
        "",
        f"| operator | {' | '.join(names)} | best fixed over best |",
        "|" + " --- |" * (len(names) + 2),
    ]
    for one in comparisons:
        row = one.figures[objective]
        ratio = min(row[name] for name in DATAFLOWS) / row[BEST]
        cells = " | ".join(f"{row[name]:.3g}" for name in names)
        lines.append(f"| {one.operator.name} | {cells} | {ratio:.2f} |")
    return lines


def _genetic_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the distance of the published genetic search from the optimum."""
    middle, mean, worst, runs = genetic_distance(comparisons)
    with_runs = [one for one in comparisons if one.genetic]
    never = sum(min(one.genetic) > 1 + 1e-9 for one in with_runs)
    return [
        "## The published genetic search",
        "",
        "Population 10, 20 generations, mutation 0.1 (200 evaluations), on this mapping space, told when tiles do not",
        f"fit: latency over the proved optimum in {runs} runs ({len(with_runs)} operators with 1×1 and 3×3 filters,",
        f"{len(with_runs[0].genetic)} seeds each): median {middle:.3f}, mean of the operators' medians {mean:.3f},",
        f"worst {worst:.2f}. On {never} of the {len(with_runs)} operators no seed reached the optimum.",
        "",
        "| operator | least | median | worst |",
        "| --- | --- | --- | --- |",
        *(
            f"| {one.operator.name} | {min(one.genetic):.3f} | {median(one.genetic):.3f} | {max(one.genetic):.3f} |"
            for one in with_runs
        ),
    ]


def draw(comparisons: Sequence[Comparison], folder: Path) -> tuple[str, ...]:
    """Draw latency of the fixed dataflows over the best, and the genetic search's distances; the plots' names.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 5))
    width = 0.8 / len(DATAFLOWS)
    for place, name in enumerate(DATAFLOWS):
        at = [n + (place - 1) * width for n in range(len(comparisons))]
        over = [one.figures["latency"][name] / one.figures["latency"][BEST] for one in comparisons]
        axes.bar(at, over, width, label=name)
    axes.set(yscale="log", ylabel="latency over the best dataflow's (emulated)")
    axes.set_xticks(range(len(comparisons)), [one.operator.name for one in comparisons], rotation=90, fontsize=6)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / PLOTS[0], dpi=120)
    pyplot.close(figure)

    with_runs = [one for one in comparisons if one.genetic]
    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    axes.boxplot([one.genetic for one in with_runs])
    axes.set_xticks(range(1, len(with_runs) + 1), [one.operator.name for one in with_runs], rotation=90, fontsize=6)
    axes.set_ylabel("genetic search's latency over the optimum")
    figure.tight_layout()
    figure.savefig(folder / PLOTS[1], dpi=120)
    pyplot.close(figure)
    return PLOTS
