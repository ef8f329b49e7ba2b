"""The costs of layers on a described device, from its rates: seconds, joules and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from mosaic_onnx.backends.simulated.options import SimulatedOptions
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.graph.layer_facts import LayerFacts

SMALLEST_NOISE_FACTOR = 0.1


@dataclass(frozen=True)
class Share:
    """A layer's time at the highest level, in the two parts of Equation 3.

    Attributes:
        clocked_s: the part that depends on the clock (γ / f_max): arithmetic and operator launches.
        memory_s: the part that does not (ε): reading weights and activations.
    """

    clocked_s: float
    memory_s: float


def share(facts: LayerFacts, options: SimulatedOptions) -> Share:
    """Return ``Σ c·GMAC + o·operators`` and ``w·weight MB + a·activation MB`` (docs/reproduction.md)."""
    macs = facts.dense_macs if options.dense_depthwise else facts.macs
    arithmetic = sum(options.seconds_per_gmac.get(kind, 0.0) * count / 1e9 for kind, count in macs.items())
    moved_mb = (facts.input_bytes + facts.output_bytes) / 1e6
    return Share(
        clocked_s=arithmetic + options.seconds_per_operator * facts.kernel_count,
        memory_s=options.seconds_per_weight_mb * parameter_bytes(facts, options) / 1e6
        + options.seconds_per_activation_mb * moved_mb,
    )


def seconds_at(part: Share, slowdown: float, overlap: float) -> float:
    """Return the seconds at a lower clock.

    With ``overlap`` 1 this is Equation 3, ``t = γ/f + ε``; with more it is ``t^p = (γ/f)^p + ε^p``, a law that the
    two-point estimator does not know.

    Args:
        part: the layer's time at the highest level.
        slowdown: f_max / f.
        overlap: the exponent p.
    """
    clocked_s = part.clocked_s * slowdown
    if overlap == 1.0:
        return clocked_s + part.memory_s
    longest = max(clocked_s, part.memory_s)
    if longest == 0:
        return 0.0
    return float(longest * ((clocked_s / longest) ** overlap + (part.memory_s / longest) ** overlap) ** (1 / overlap))


def slowdown(device: Device, level: Level | None) -> float:
    """Return f_max / f; 1 for a device without levels."""
    if level is None or not level.frequency_hz:
        return 1.0
    return device.levels[-1].frequency_hz / level.frequency_hz


def power_w(device: Device, level: Level | None, options: SimulatedOptions) -> float | None:
    """Return dynamic power scaled by V²f plus static power in proportion to the voltage (Equations 4 and 5)."""
    if options.dynamic_w is None:
        return None
    if level is None or not level.frequency_hz:
        return options.dynamic_w + options.static_w
    top = device.levels[-1]
    voltage = level.voltage_v / top.voltage_v if top.voltage_v else 1.0
    dynamic_w = options.dynamic_w * voltage**2 * level.frequency_hz / top.frequency_hz
    return dynamic_w + options.static_w * voltage


def parameter_bytes(facts: LayerFacts, options: SimulatedOptions) -> int:
    """Return the bytes of the layer's weights as the device stores them."""
    count = facts.dense_parameter_count if options.dense_depthwise else facts.parameter_count
    if options.bytes_per_weight:
        return options.bytes_per_weight * count
    return facts.parameter_bytes + 4 * (count - facts.parameter_count)


def noise_factor(options: SimulatedOptions, *key: str) -> float:
    """Return a normal random number around 1, which depends only on seed and key."""
    if not options.noise:
        return 1.0
    digest = sha256("\0".join((str(options.seed), *key)).encode()).digest()
    drawn = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little"))).standard_normal()
    return max(SMALLEST_NOISE_FACTOR, float(1 + options.noise * drawn))


def refused_operator(op_types: tuple[str, ...], options: SimulatedOptions) -> str | None:
    """Return the first operator type that the device lacks."""
    for op_type in op_types:
        if op_type in options.unsupported or (options.supported and op_type not in options.supported):
            return op_type
    return None
