"""The page's tables, as rows of text."""

from __future__ import annotations

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.report.content import ReportContent
from mosaic_onnx.report.headline import milliseconds


def plan_rows(content: ReportContent) -> list[tuple[str, str]]:
    """Return what the plan is, as pairs of a word and a figure."""
    plan = content.plan
    predicted = plan.predicted
    moved = sum(one.bytes for one in plan.transfers)
    rows = [
        ("objective", f"{plan.objective}, {plan.schedule}"),
        ("predicted latency", milliseconds(predicted.seconds)),
        ("slices", str(len(plan.slices))),
        ("transfers", f"{len(plan.transfers)} ({moved / 1e6:.3g} MB)"),
        ("method", plan.method),
    ]
    if predicted.joules is not None:
        rows.insert(2, ("predicted energy", f"{predicted.joules * 1e3:.3g} mJ"))
    if plan.objective == "throughput":
        rows.insert(2, ("one every", milliseconds(predicted.interval_seconds)))
    if plan.bound is not None:
        gap = "" if plan.gap is None else f", gap {plan.gap:.1%}"
        figure = f"{plan.bound.value:.4g} {plan.bound.unit}"
        if plan.bound.unit == "seconds":
            figure = milliseconds(plan.bound.value)
        elif plan.bound.unit == "joules":
            figure = f"{plan.bound.value * 1e3:.3g} mJ"
        rows.append(("no plan is below", f"{figure}{gap}"))
    return rows


def candidate_rows(content: ReportContent) -> list[tuple[str, str, str]]:
    """Return name, predicted and measured latency (with its spread) of the plan and of what could run instead."""
    measured = content.measured
    predicted = {"plan": content.plan, **content.singles}
    if measured is not None and measured.delivered != "plan":
        predicted = {**content.singles}
    names = dict.fromkeys([*predicted, *(measured.median_s if measured is not None else ())])
    simulated = {device.name for device in content.profile.devices if device.simulated}
    rows = []
    for name in names:
        figure = milliseconds(predicted[name].predicted.seconds) if name in predicted else "–"
        median = "–"
        if measured is not None and name in measured.median_s:
            median = f"{milliseconds(measured.median_s[name])} ± {measured.spread.get(name, 0.0):.0%}"
        label = f"{name} (simulated)" if name in simulated else name
        delivered = measured is not None and name == measured.delivered
        rows.append((f"{label}, delivered" if delivered else label, figure, median))
    return rows


def transfer_rows(content: ReportContent) -> list[tuple[str, str, str, str]]:
    """Return tensor, way, MB and predicted time of every transfer, the slowest first."""
    ordered = sorted(content.plan.transfers, key=lambda one: one.start_s - one.end_s)
    return [
        (
            one.tensor,
            f"{one.source} → {one.destination}",
            f"{one.bytes / 1e6:.3g}",
            milliseconds(one.end_s - one.start_s),
        )
        for one in ordered
    ]


def gain_rows(content: ReportContent) -> list[tuple[str, str, str]]:
    """Return what would help: the wish, the change of latency, and what is assumed."""
    whole = content.explanation
    lifts = [
        (f"{one.device} ran {one.operator} ({_layers(one.layers)})", f"{one.seconds * 1e3:+.3g} ms", one.assumed)
        for one in whole.lifts
    ]
    paid = sum(one.seconds for one in whole.boundaries)
    if paid > 0:
        lifts.append(
            ("transfers cost nothing at all", f"{-paid * 1e3:+.3g} ms at most", "all transfers of this plan together")
        )
    busy = {name: seconds for name, seconds in whole.busy_s.items() if seconds > 0}
    if busy:
        slowest = max(busy, key=busy.__getitem__)
        used = {device_of(one.state) for one in content.plan.slices}
        share = busy[slowest] / sum(busy.values())
        if len(used) > 1 or paid > 0:
            half = f"{-busy[slowest] * 500:+.3g} ms at most"
            lifts.append((f"{slowest} were twice as fast", half, f"it is busy for {share:.0%} of all devices' time"))
    return lifts


def _layers(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} layers"
