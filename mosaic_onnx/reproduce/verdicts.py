"""The bars that a reproduction has to meet, with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mosaic_onnx.reproduce import paper
from mosaic_onnx.reproduce.agreement import share
from mosaic_onnx.reproduce.findings import Findings
from mosaic_onnx.reproduce.versions import MOSAIC

FITTED_POINTS = 1.0
PREDICTED_POINTS = 4.0
LEAST_AGREEMENT = 70.0
RESNET = "resnet_v2_152"


@dataclass(frozen=True)
class Verdict:
    """One bar, the figure, and whether it is met."""

    what: str
    met: bool
    detail: str


def verdicts(found: Findings) -> tuple[Verdict, ...]:
    """Return the verdicts on all bars; a reduced run leaves out those that need all workloads."""
    judged = [_never_beaten(found)]
    if "inception_v4" in found.scope.workloads:
        judged.append(_inception_cut(found))
    if set(found.scope.workloads) == set(paper_workloads()):
        judged += _fitted(found)
        judged += _order(found)
        judged += [_small(found), _agreement(found)]
    return tuple(judged)


def paper_workloads() -> tuple[str, ...]:
    """Return all rows of Table I."""
    from mosaic_onnx.zoo import WORKLOADS

    return tuple(WORKLOADS)


def _never_beaten(found: Findings) -> Verdict:
    beaten = found.versions_beaten
    what = f"MOSAIC is never above a baseline nor any of {found.scope.random_count} random plans"
    return Verdict(what, not beaten, "; ".join(beaten) or f"{len(found.outcomes.by_key)} plans compared")


def _inception_cut(found: Findings) -> Verdict:
    plan = found.outcomes.by_key["inception_v4", "latency", MOSAIC].plan
    firsts = [piece.layers[0] + 1 for piece in plan.slices]
    return Verdict("Inception V4 is cut at layer 11", 11 in firsts, f"slices start at {firsts}")


def _fitted(found: Findings) -> list[Verdict]:
    pairs = (
        ("latency", found.reductions("latency", large=True), paper.LATENCY_LARGE),
        ("energy", found.reductions("energy", large=True), paper.ENERGY_LARGE),
    )
    return [
        Verdict(
            f"fitted {objective} reductions within {FITTED_POINTS:g} point",
            _worst(ours, theirs) <= FITTED_POINTS,
            f"largest difference {_worst(ours, theirs):.2f} points",
        )
        for objective, ours, theirs in pairs
    ]


def _order(found: Findings) -> list[Verdict]:
    """Return the verdict that all reductions are positive and in the paper's order."""
    cases = (
        ("latency, large", found.reductions("latency", large=True), paper.LATENCY_LARGE),
        ("energy, large", found.reductions("energy", large=True), paper.ENERGY_LARGE),
        ("latency, small", found.reductions("latency", large=False), paper.LATENCY_SMALL),
        ("energy, small", found.reductions("energy", large=False), paper.ENERGY_SMALL),
    )
    judged = []
    for what, ours, theirs in cases:
        ranked = [reached for _, reached in sorted(zip(theirs, ours, strict=True), reverse=True)]
        met = min(ours) > 0 and all(first > second for first, second in pairwise(ranked))
        judged.append(Verdict(f"sign and order of the reductions: {what}", met, ", ".join(f"{x:.1f} %" for x in ours)))
    return judged


def _small(found: Findings) -> Verdict:
    ours = found.reductions("latency", large=False)[:3]
    worst = _worst(ours, paper.LATENCY_SMALL[:3])
    what = f"predicted small-model latency reductions within {PREDICTED_POINTS:g} points (big, little, GPU)"
    return Verdict(what, worst <= PREDICTED_POINTS, f"largest difference {worst:.1f} points")


def _agreement(found: Findings) -> Verdict:
    ours, trivial = share(found.table_iii, RESNET), share(found.table_iii_trivial, RESNET)
    what = f"at least {LEAST_AGREEMENT:g} % of layers on Table III's device, ResNet left out"
    return Verdict(what, ours >= LEAST_AGREEMENT, f"{ours:.0f} %; the trivial plan (NPU preferred) {trivial:.0f} %")


def _worst(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return max(abs(first - second) for first, second in zip(ours, theirs, strict=True))
