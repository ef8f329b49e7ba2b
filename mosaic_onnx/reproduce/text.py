"""The report's text: fitted and predicted numbers, the paper's beside ours, and the reasons for differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mosaic_onnx.reproduce import paper
from mosaic_onnx.reproduce.accuracy import BENT_OVERLAP, NOISE
from mosaic_onnx.reproduce.agreement import by_name, printed_words, share, state_share, written
from mosaic_onnx.reproduce.findings import Findings, Governed, mean_absolute
from mosaic_onnx.reproduce.verdicts import RESNET, Verdict
from mosaic_onnx.reproduce.versions import EXHAUSTIVE, MOSAIC, RANDOM
from mosaic_onnx.reproduce.workloads import rule_bytes
from mosaic_onnx.zoo import WORKLOADS

PREAMBLE = """\
# MOSAIC's evaluation on a simulated HiKey 970

Nothing here was measured on a HiKey 970. A *description* of the board (`hikey970`, shipped with the package) was
calibrated to few published numbers; plans are made and judged on that description. What may be said: on a HiKey 970
description calibrated to these published numbers, plans agree with the paper's Table III on the share of layers printed
below, beside the share of the trivial plan. What may not be said: that the paper's speed-ups on the board, its energy,
or its estimation errors were reproduced.

**Fitted** figures were aimed at by the calibration and prove nothing. **Predicted** ones were not; but the
calibration's priors were chosen with the paper's other figures in view, so they are not blind either: look at the range
over priors, not at one column. How the description was made, and what is assumed in it: `docs/reproduction.md`.
"""


def report_text(found: Findings, judged: Sequence[Verdict], plots: Sequence[str], plots_missing: str) -> str:
    """Return the text of ``report.md``."""
    parts = [
        PREAMBLE,
        _scope(found),
        _verdicts(judged),
        _fitted(found),
        _predicted(found),
        _seeds(found),
        _plans(found),
        _components(found),
        _accuracy(found),
        _planning(found),
        _rates(found),
        _plots(plots, plots_missing),
    ]
    return "\n".join(part for part in parts if part)


def _scope(found: Findings) -> str:
    if set(found.scope.workloads) == set(WORKLOADS):
        return ""
    left_out = [name for name in WORKLOADS if name not in found.scope.workloads]
    return (
        f"**Reduced run**: {', '.join(left_out)} left out, {found.scope.random_count} random plans. "
        "Means below are over fewer workloads than the paper's, so differences from it mean little.\n"
    )


def _verdicts(judged: Sequence[Verdict]) -> str:
    rows = [(each.what, "met" if each.met else "**missed**", each.detail) for each in judged]
    return _section("Bars", _table(("bar", "", "found"), rows))


def _fitted(found: Findings) -> str:
    rows = [
        *_reduction_rows(found, "latency", paper.LATENCY_LARGE, large=True),
        *_reduction_rows(found, "energy", paper.ENERGY_LARGE, large=True),
    ]
    errors = found.gpu_errors()
    table_i = [
        (
            WORKLOADS[name].code,
            f"{1e3 * WORKLOADS[name].gpu_s:.1f} ms",
            _ms((1 + error) * WORKLOADS[name].gpu_s),
            _signed(error),
        )
        for name, error in errors.items()
    ]
    why = "\nTable I is hit less well than the reductions, since eight numbers for the GPU cannot follow ten latencies."
    return _section(
        "Fitted (in-sample)",
        "Reductions of MOSAIC against the preferred versions, large models, geometric means.\n\n"
        + _table(("reduction", "paper", "here", "difference"), rows)
        + f"\n\nGPU latencies of Table I: mean absolute error {mean_absolute(list(errors.values())):.1f} %.{why}\n\n"
        + _table(("workload", "paper", "here", "error"), table_i),
    )


def _predicted(found: Findings) -> str:
    latency = _reduction_rows(found, "latency", paper.LATENCY_SMALL, large=False)
    energy = _reduction_rows(found, "energy", paper.ENERGY_SMALL, large=False)
    reasons = ["follows the large models' rates", "tied to the big cluster's rates: no evidence of its own"]
    reasons += ["hangs on the NPU's operator cost, which is assumed", _why_small_npu()]
    energy_reason = "as for latency, and the scale of static power is assumed"
    rows = [(*row, why) for row, why in zip(latency, reasons, strict=True)]
    rows += [(*row, energy_reason) for row in energy]
    rows += list(_exhaustive_rows(found))
    spread = found.figure_5
    rows.append(
        (
            "Figure 5: best below worst of MO-1.4 in three slices",
            "34.1 %",
            f"{100 * (1 - spread.best_s / spread.worst_s):.1f} %",
            "",
            f"all {spread.ways} pairs of cuts here (on the NPU alone: {spread.ways_on_npu}); the paper shows some",
        )
    )
    return _section("Predicted", _table(("figure", "paper", "here", "difference", "why they differ"), rows))


def _why_small_npu() -> str:
    name = "mobilenet_v2_1.0"
    by_rule, printed = rule_bytes(name) / 1e6, WORKLOADS[name].model_bytes / 1e6
    return (
        "every fit of this form misses the NPU's figure by 10 to 20 points: the inferred 100 MB rule cuts MobileNet V2 "
        f"1.0 ({by_rule:.1f} MB by the rule, {printed:g} MB in Table I), so the NPU-preferred version pays copies that "
        "the board did not"
    )


def _exhaustive_rows(found: Findings) -> Iterable[tuple[str, str, str, str, str]]:
    printed = paper.OVERHEADS
    cases: tuple[tuple[str, tuple[str, ...], Governed, float], ...] = (
        ("latency, large", found.large, "latency", printed.exhaustive_latency_large),
        ("energy, large", found.large, "energy", printed.exhaustive_energy_large),
        ("latency, small", found.small, "latency", printed.exhaustive_latency_small),
        ("energy, small", found.small, "energy", printed.exhaustive_energy_small),
    )
    why = "MOSAIC is exact on the simulator; on the board, estimation errors let a random plan win at times"
    for what, names, objective, percent in cases:
        behind = max(0.0, -found.outcomes.reduction(names, objective, EXHAUSTIVE))
        yield (f"MOSAIC behind best of {found.scope.random_count}, {what}", f"{percent} %", f"{behind:.2f} %", "", why)


def _seeds(found: Findings) -> str:
    """Return the lines on the spread over calibrations; the shipped description is seed 0, not the best seed."""
    rows = [
        (
            str(each.seed),
            _percents(each.latency_small),
            _percents(each.energy_small),
            f"{share(each.table_iii):.0f} %",
            f"{share(each.table_iii, RESNET):.0f} %",
        )
        for each in found.seeds
    ]
    rows.append(("paper", _percents(paper.LATENCY_SMALL), _percents(paper.ENERGY_SMALL), "", ""))
    trivial = f"{share(found.table_iii_trivial):.0f} %", f"{share(found.table_iii_trivial, RESNET):.0f} %"
    rows.append(("trivial plan (NPU preferred)", "", "", *trivial))
    return _section(
        "How much hangs on the priors",
        "Each seed starts the calibration from other priors and hits the fitted figures alike. Small models against "
        "big / little / GPU / NPU preferred; layers on Table III's device, with ResNet V2 and without it (what the NPU "
        "lacks was read off its plan, so it is not a prediction).\n\n"
        + _table(("seed", "latency, small", "energy, small", "Table III", "without ResNet"), rows),
    )


def _plans(found: Findings) -> str:
    parts = []
    cases: tuple[tuple[str, Governed, dict[str, tuple[paper.Step, ...]], bool], ...] = (
        ("Table III: plans for latency", "latency", by_name(paper.TABLE_III), False),
        ("Table IV: plans for energy", "energy", by_name(paper.TABLE_IV), True),
    )
    for title, objective, printed, levels in cases:
        rows = [
            (
                WORKLOADS[name].code,
                printed_words(printed[name], levels),
                written(found.outcomes.by_key[name, objective, MOSAIC].plan, levels),
            )
            for name in found.large
        ]
        parts.append(_section(title, _table(("workload", "paper", "here"), rows)))
    parts.append(
        f"Layers on the printed device: Table III {share(found.table_iii):.0f} %, without ResNet "
        f"{share(found.table_iii, RESNET):.0f} %; Table IV {share(found.table_iv):.0f} %, at the printed level too "
        f"{state_share(found.table_iv):.0f} %. No rate was fitted to a plan; but the 100 MB rule was inferred from the "
        "cuts of Inception (11), ResNet (29 to 31) and VGG, and the operators that the NPU lacks from ResNet's plan.\n"
    )
    return "\n".join(parts)


def _components(found: Findings) -> str:
    rows = []
    cases: tuple[tuple[Governed, tuple[str, ...]], ...] = (
        ("latency", ("HCA", RANDOM)),
        ("energy", ("HCA", "HCCA", RANDOM)),
    )
    for objective, versions in cases:
        for version in versions:
            figures = [found.outcomes.reduction(names, objective, version) for names in (found.large, found.small)]
            rows.append((f"{objective}: MOSAIC below {_called(version, found)}", *(f"{x:.1f} %" for x in figures)))
        base = [found.outcomes.reduction(names, objective, "TF-GPU-O", "HCA") for names in (found.large, found.small)]
        rows.append((f"{objective}: HCA below TF-GPU-O", *(f"{x:.1f} %" for x in base)))
    return _section(
        "Impact of the components (predicted; the paper prints bars only)",
        _table(("", "large", "small"), rows)
        + "\n\nIn the paper's bars, too, HCA is below TF-GPU-O, MOSAIC below HCA, and for energy HCCA between them.",
    )


def _called(version: str, found: Findings) -> str:
    return f"the best of {found.scope.random_count} random plans" if version == RANDOM else version


def _accuracy(found: Findings) -> str:
    rows = []
    for objective, percent in (("latency", paper.OVERHEADS.error_latency), ("energy", paper.OVERHEADS.error_energy)):
        errors = [
            mean_absolute([each.error for each in group if each.objective == objective])
            for group in (found.errors, found.bent_errors)
        ]
        rows.append((objective, f"{percent} %", *(f"{error:.2f} %" for error in errors)))
    levels = [
        (each.device, f"{100 * each.mean_seconds_error:.2f} %", f"{100 * each.worst_seconds_error:.2f} %")
        for each in found.level_errors
    ]
    return _section(
        "Estimation accuracy",
        f"Errors of the estimators on simulated measurements with {100 * NOISE:g} % noise; they say nothing of the "
        f"board. The bent law is t^p = (γ/f)^p + ε^p with p = {BENT_OVERLAP:g}. Errors of layers average out over a "
        "plan, and MOSAIC's plans mostly use levels that were profiled.\n\n"
        + _table(("mean absolute error of plans", "paper, on the board", "law of Equation 3", "bent law"), rows)
        + "\n\nLevels between lowest and highest under the bent law, without noise, left out of the profile:\n\n"
        + _table(("device", "mean", "worst"), levels),
    )


def _planning(found: Findings) -> str:
    rows = []
    printed = {"latency": paper.OVERHEADS.planning_latency_ms, "energy": paper.OVERHEADS.planning_energy_ms}
    for objective, milliseconds in printed.items():
        times = [each for each in found.planning if each.objective == objective]
        interval = sum(each.interval_s for each in times) / len(times)
        literal = sum(each.algorithm1_s for each in times) / len(times)
        rows.append((objective, str(times[0].state_count), f"{milliseconds} ms", _ms(interval), _ms(literal)))
    return _section(
        "Planning time (measured on this machine)",
        _table(
            ("objective", "states", "paper, C++ on the board", "interval (Python)", "Algorithm 1 as printed (Python)"),
            rows,
        )
        + "\n\nOther machine, other language: only the order of magnitude compares.",
    )


def _rates(found: Findings) -> str:
    rows = [
        (
            each.network,
            each.device,
            f"{each.measured:g}",
            f"{each.described:.1f}",
            f"{each.described / each.measured:.2f}",
        )
        for each in found.rates
    ]
    return _section(
        "Whole networks measured by others on the same board (predicted)",
        "Images a second (Wang, Pathania, Mitra 2020; another framework than TensorFlow Lite): a check of magnitudes."
        "\n\n" + _table(("network", "device", "measured", "described", "ratio"), rows),
    )


def _plots(plots: Sequence[str], missing: str) -> str:
    body = "\n\n".join(f"![{name}]({name})" for name in plots) or f"No plots: {missing}"
    return _section("Plots", body)


def _reduction_rows(
    found: Findings, objective: Governed, printed: Sequence[float], *, large: bool
) -> list[tuple[str, str, str, str]]:
    size = "large" if large else "small"
    ours = found.reductions(objective, large=large)
    return [
        (
            f"{objective}, {size}, {device} preferred",
            f"−{theirs:.1f} %",
            f"−{mine:.1f} %",
            f"{theirs - mine:+.1f} points",
        )
        for device, theirs, mine in zip(paper.DEVICES, printed, ours, strict=True)
    ]


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _percents(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


def _signed(error: float) -> str:
    return f"{100 * error:+.1f} %"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.1 else f"{1e3 * seconds:.1f} ms"
