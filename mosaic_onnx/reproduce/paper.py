"""The numbers printed in the paper (MOSAIC, PACT 2019), and independent rates to check a description with.

Table I is in ``mosaic_onnx.zoo``. Nothing in this module is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mosaic_onnx.core.devices import Level

DEVICES = ("big", "little", "gpu", "npu")
LETTERS = {"B": "big", "L": "little", "G": "gpu", "N": "npu"}
FALLBACK = ("npu", "gpu", "big")
"""The order of devices for a layer that its preferred device cannot execute (section VI-A)."""
SLICE_LIMIT_BYTES = 100_000_000
"""The NPU's limit on a slice (section III), in MB = 10⁶ bytes."""


def _levels(text: str) -> tuple[Level, ...]:
    """Return the levels of ``volts/megahertz`` pairs, lowest first, named by their clock."""
    pairs = [pair.split("/") for pair in text.split()]
    return tuple(Level(f"{megahertz}MHz", float(megahertz) * 1e6, float(volts)) for volts, megahertz in pairs)


LEVELS: Mapping[str, tuple[Level, ...]] = {
    "big": _levels("0.7/682 0.8/1018 0.8/1210 0.8/1364 0.9/1498 0.9/1652 0.9/1863 1.0/2093 1.1/2362"),
    "little": _levels("0.7/509 0.8/1018 0.9/1210 0.9/1402 1.0/1556 1.0/1690 1.1/1844"),
    "gpu": _levels("0.6/104 0.7/151 0.7/237 0.7/332 0.8/415 0.8/550 0.9/667 1.0/767"),
    "npu": (),
}
"""Table II. The NPU has no levels; Table IV writes its clock, 960 MHz."""


class Reductions(NamedTuple):
    """The percentages by which MOSAIC is below each device-preferred version (geometric means)."""

    big: float
    little: float
    gpu: float
    npu: float


LATENCY_LARGE = Reductions(70.3, 86.1, 39.1, 29.2)
LATENCY_SMALL = Reductions(58.8, 80.4, 29.5, 9.2)
ENERGY_LARGE = Reductions(91.0, 80.5, 83.4, 36.6)
ENERGY_SMALL = Reductions(87.6, 74.5, 78.2, 22.9)


@dataclass(frozen=True)
class Overheads:
    """Single figures of section VI: percentages, and milliseconds of planning."""

    exhaustive_latency_large: float = 0.67
    exhaustive_energy_large: float = 0.53
    exhaustive_latency_small: float = 0.89
    exhaustive_energy_small: float = 0.32
    error_latency: float = 3.0
    error_energy: float = 4.3
    planning_latency_ms: float = 0.15
    planning_energy_ms: float = 0.82


OVERHEADS = Overheads()


class Step(NamedTuple):
    """One slice of a printed plan: device, first layer (from 1), level name (empty where the table prints none)."""

    device: str
    first: int
    level: str = ""


def _plan(text: str) -> tuple[Step, ...]:
    """Return the steps of a plan printed as ``N1 B10`` (Table III) or ``N1^960 L10^509`` (Table IV)."""
    steps = []
    for word in text.split():
        place, _, megahertz = word.partition("^")
        steps.append(Step(LETTERS[place[0]], int(place[1:]), megahertz and f"{megahertz}MHz"))
    return tuple(steps)


TABLE_III: Mapping[str, tuple[Step, ...]] = {
    "IN": _plan("N1 N11 B20"),
    "MN-1.0": _plan("N1 B10 G18 B20"),
    "MN-1.3": _plan("N1 B9 G12 B20"),
    "MO-1.3": _plan("N1 G9 N18"),
    "MO-1.4": _plan("N1 G8 N18"),
    "RN": _plan("B1 N2 B4 N5 B12 N13 N31 B48 N49 B52"),
    "VGG": _plan("N1 G14 B16"),
}
"""Plans for performance, by the paper's short names."""

TABLE_IV: Mapping[str, tuple[Step, ...]] = {
    "IN": _plan("N1^960 N11^960 L20^509"),
    "MN-1.0": _plan("G1^767 L7^509 G12^667 L15^509 G18^667 L20^509"),
    "MN-1.3": _plan("G1^767 L7^509 G12^667 L14^509 G18^667 L20^509"),
    "MO-1.3": _plan("N1^960 L5^509 B7^682 L10^1018 L11^509 L14^1018 L15^509 N18^960"),
    "MO-1.4": _plan("N1^960 L5^1018 L6^509 L10^1018 L11^509 L13^1402 G14^767 N18^960"),
    "RN": _plan("B1^682 N2^960 B4^682 N5^960 L12^1018 N13^960 N29^960 L48^1210 N49^960 L52^509 B53^682"),
    "VGG": _plan("N1^960 G14^550 G15^667 B16^682"),
}
"""Plans for energy; the NPU's level is its clock."""

UNSUPPORTED_BY_NPU = ("Pad", "ReduceMean")
"""Inferred: ResNet V2's layers 1, 4, 12, 48 (explicit padding) and 52 (a mean) are not on the NPU in Table III."""

INDEPENDENT_RATES: Mapping[str, tuple[float | None, ...]] = {
    "alexnet": (7.6, 2.2, 32.5, 32.5),
    "googlenet": (7.1, 3.0, 19.9, 34.4),
    "mobilenet_v1": (17.7, 6.5, 29.1, None),
    "resnet50": (2.8, 1.5, 8.4, 21.9),
    "squeezenet": (15.7, 6.8, 43.0, 49.3),
}
"""Images a second on the same board, as ``DEVICES`` (Wang, Pathania, Mitra 2020, arXiv 1908.11450); None where not
supported. Another framework and other models: a check of magnitudes, never fitted."""


def spread(plan: tuple[Step, ...], layer_count: int) -> tuple[Step, ...]:
    """Return [L] the step of each layer."""
    ends = [*(step.first for step in plan[1:]), layer_count + 1]
    return tuple(step for step, end in zip(plan, ends, strict=True) for _ in range(step.first, end))
