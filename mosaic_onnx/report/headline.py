"""The first words of the page: how much faster, against what, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.report.content import Measured, ReportContent

DEFAULT = ", runtime's default"
"""The end of a candidate's name that is what its runtime does by default (``planning.candidates.yardsticks``)."""


@dataclass(frozen=True)
class Headline:
    """The page's first lines.

    Attributes:
        first: the figure.
        second: what it rests on.
    """

    first: str
    second: str


def headline_of(content: ReportContent) -> Headline:
    """Return the headline: measured where something was measured, else predicted, and said to be so."""
    measured = content.measured
    if measured is not None and measured.delivered in measured.median_s:
        return _measured(content.profile, measured)
    return _predicted(content)


def _measured(profile: Profile, measured: Measured) -> Headline:
    after_s = measured.median_s[measured.delivered]
    baseline = _baseline(profile, measured)
    what = "the plan" if measured.delivered == "plan" else f"{measured.delivered} alone"
    if baseline is None:
        return Headline(f"{milliseconds(after_s)}, measured", f"Delivered: {what}. {_sentence(measured.reason)}")
    before_s = measured.median_s[baseline]
    spread = math.hypot(measured.spread.get(measured.delivered, 0.0), measured.spread.get(baseline, 0.0))
    against = _in_words(profile, baseline)
    first = f"{_ratio(before_s, after_s, against)}: {milliseconds(before_s)} → {milliseconds(after_s)}, ± {spread:.0%}"
    return Headline(first, f"Delivered: {what}, medians of interleaved runs. {_sentence(measured.reason)}")


def _predicted(content: ReportContent) -> Headline:
    plan = content.plan
    best = min(content.singles.items(), key=lambda item: _figure(item[1]), default=None)
    used = {device_of(item.state) for item in plan.slices}
    kind = "simulated" if used & set(content.simulated) else "predicted, not measured"
    reason = _sentence(content.measured.reason) if content.measured is not None else ""
    if best is None:
        return Headline(f"{_amount(plan)}, {kind}", f"No single device runs the whole model. {reason}".strip())
    name, alone = best
    if _figure(plan) == _figure(alone):
        return Headline(f"{name} alone is best: {_amount(plan)}, {kind}", reason)
    if _figure(plan) > _figure(alone):
        first = f"{name} alone is better: {_amount(alone)} against the plan's {_amount(plan)}, {kind}"
        return Headline(first, reason)
    word = "faster" if plan.objective in ("latency", "throughput") else "better"
    ratio = _figure(alone) / _figure(plan)
    first = f"{ratio:.3g} × {word} than {name} alone: {_amount(alone)} → {_amount(plan)}"
    return Headline(first, f"{kind[0].upper()}{kind[1:]}. {reason}".strip())


def _baseline(profile: Profile, measured: Measured) -> str | None:
    """Return the candidate to compare with: ONNX Runtime's default, else a runtime's default, else the best device."""
    others = [name for name in measured.median_s if name != measured.delivered]
    defaults = [name for name in others if name.endswith(DEFAULT)]
    backends = {device.name: device.backend for device in profile.devices}
    usual = [name for name in defaults if backends.get(name.removesuffix(DEFAULT)) == "onnxruntime"]
    singles = sorted(others, key=measured.median_s.__getitem__)
    return next(iter([*usual, *defaults, *singles]), None)


def _in_words(profile: Profile, name: str) -> str:
    """Return a candidate's name in words: ``ONNX Runtime's default`` for a runtime's default."""
    if not name.endswith(DEFAULT):
        return f"{name} alone" if name != "plan" else "the plan"
    device = name.removesuffix(DEFAULT)
    backend = next((one.backend for one in profile.devices if one.name == device), device)
    return {"onnxruntime": "ONNX Runtime's default", "openvino": "OpenVINO's default"}.get(backend, f"{name}")


def _ratio(before_s: float, after_s: float, against: str) -> str:
    """Return ``1.24 × faster than …``; a ratio within half a percent of one is no difference."""
    ratio = before_s / after_s
    if abs(ratio - 1) < 0.005:
        return f"As fast as {against}"
    return f"{ratio:.2f} × faster than {against}" if ratio > 1 else f"{1 / ratio:.2f} × slower than {against}"


def _figure(plan: Plan) -> float:
    """Return what the plan's objective counts."""
    predicted = plan.predicted
    if plan.objective == "latency" or predicted.joules is None:
        return predicted.seconds
    if plan.objective == "throughput":
        return predicted.interval_seconds
    return predicted.joules if plan.objective == "energy" else predicted.joules * predicted.seconds


def _amount(plan: Plan) -> str:
    """Return what the plan's objective counts, with its unit."""
    predicted = plan.predicted
    if plan.objective == "throughput":
        return f"one every {milliseconds(predicted.interval_seconds)}"
    if plan.objective == "latency" or predicted.joules is None:
        return milliseconds(predicted.seconds)
    if plan.objective == "energy":
        return f"{predicted.joules * 1e3:.3g} mJ"
    return f"{predicted.joules * predicted.seconds * 1e6:.3g} mJ·ms"


def milliseconds(seconds: float) -> str:
    """Return seconds as text in milliseconds, three figures."""
    return f"{seconds * 1e3:.3g} ms"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
