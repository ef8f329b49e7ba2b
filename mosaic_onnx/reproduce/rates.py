"""The numbers behind a HiKey 970 description: fitted ones, assumed ones, and the devices made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats
from mosaic_onnx.core.devices import Device, OptionValue
from mosaic_onnx.reproduce.paper import LEVELS, SLICE_LIMIT_BYTES, UNSUPPORTED_BY_NPU

CLASSES = ("conv1x1", "convkxk", "depthwise3", "depthwise5", "fc")
LITTLE_MEMORY_FACTOR = 2.0
"""Assumed ratio: the little cluster reads weights at half the big cluster's speed."""


@dataclass(frozen=True)
class Rates:
    """Speeds at the highest level: milliseconds per GMAC, per MB of weights, per operator; copies in ns/byte and ms.

    Attributes:
        big: [5] ms/GMAC by class (``CLASSES``).
        big_weight: ms/MB.
        big_operator: ms.
        little_ratio: time of the little cluster relative to the big one's.
        gpu, gpu_weight, gpu_operator: as for big.
        npu, npu_weight, npu_operator: as for big, over densified multiply-accumulates and half-precision weights.
        gpu_copy: ns/byte (α).
        gpu_copy_start: ms (β).
        npu_copy: ns/byte.
        npu_copy_start: ms.
    """

    big: tuple[float, ...]
    big_weight: float
    big_operator: float
    little_ratio: float
    gpu: tuple[float, ...]
    gpu_weight: float
    gpu_operator: float
    npu: tuple[float, ...]
    npu_weight: float
    npu_operator: float
    gpu_copy: float
    gpu_copy_start: float
    npu_copy: float
    npu_copy_start: float


@dataclass(frozen=True)
class Powers:
    """The watts at the highest level, and static power as a share of dynamic power.

    Only ratios can be fitted to reductions; ``BIG_DYNAMIC_W`` sets the scale.
    """

    big: float
    little: float
    gpu: float
    npu: float
    big_static: float
    little_static: float
    gpu_static: float
    npu_static: float

    @property
    def copy_w(self) -> float:
        """Return the watts of a transfer: one big core of four does the copy."""
        return self.big * (1 + self.big_static) / 4


def to_vector(values: Rates | Powers) -> Floats:
    """Return the natural logarithms of all numbers, in field order."""
    flat = [np.atleast_1d(np.asarray(getattr(values, each.name), dtype=np.float64)) for each in fields(values)]
    return np.asarray(np.log(np.concatenate(flat)))


def rates_from_vector(vector: Floats) -> Rates:
    """Return the inverse of ``to_vector``."""
    numbers = iter(np.exp(vector).tolist())
    filled: dict[str, object] = {}
    for each in fields(Rates):
        is_list = each.name in ("big", "gpu", "npu")
        filled[each.name] = tuple(next(numbers) for _ in CLASSES) if is_list else next(numbers)
    return Rates(**filled)  # type: ignore[arg-type]  # every field is filled above


def powers_from_vector(vector: Floats) -> Powers:
    """Return the inverse of ``to_vector``."""
    return Powers(*np.exp(vector).tolist())


def devices(rates: Rates, powers: Powers, *, memory_rule: bool = True) -> tuple[Device, ...]:
    """Return the four devices of the board, as a ``devices.toml`` describes them.

    Args:
        rates: the speeds.
        powers: the watts.
        memory_rule: apply the NPU's 100 MB limit (by the inferred rule).
    """
    little = tuple(rate * rates.little_ratio for rate in rates.big)
    big_options = _options(rates.big, rates.big_weight, rates.big_operator)
    little_options = _options(little, rates.big_weight * LITTLE_MEMORY_FACTOR, rates.big_operator * rates.little_ratio)
    gpu_options = _options(rates.gpu, rates.gpu_weight, rates.gpu_operator)
    gpu_options |= _copies(rates.gpu_copy, rates.gpu_copy_start, powers)
    npu_options = _options(rates.npu, rates.npu_weight, rates.npu_operator)
    npu_options |= _copies(rates.npu_copy, rates.npu_copy_start, powers)
    npu_options |= {"dense_depthwise": True, "bytes_per_weight": 2, "buffered_activations": True}
    npu_options["unsupported"] = ",".join(UNSUPPORTED_BY_NPU)
    limit = {"slice_memory_bytes": SLICE_LIMIT_BYTES, "activation_memory": "sum"} if memory_rule else {}
    return (
        _device("big", big_options | _watts(powers.big, powers.big_static)),
        _device("little", little_options | _watts(powers.little, powers.little_static)),
        _device("gpu", gpu_options | _watts(powers.gpu, powers.gpu_static), io="host"),
        _device("npu", npu_options | _watts(powers.npu, powers.npu_static), io="host", precision="f16", **limit),
    )


def rounded(value: float) -> float:
    """Return the numbers with four significant digits: more are not justified and would differ between machines."""
    return float(f"{value:.4g}")


def _device(name: str, options: Mapping[str, OptionValue], **more: object) -> Device:
    return Device(name, backend="simulated", simulated=True, levels=LEVELS[name], options=options, **more)  # type: ignore[arg-type]


def _options(classes: tuple[float, ...], weight: float, operator: float) -> dict[str, OptionValue]:
    """Return a device's options, with seconds instead of milliseconds."""
    options: dict[str, OptionValue] = {
        f"seconds_per_gmac.{kind}": rounded(rate / 1e3) for kind, rate in zip(CLASSES, classes, strict=True)
    }
    return options | {"seconds_per_weight_mb": rounded(weight / 1e3), "seconds_per_operator": rounded(operator / 1e3)}


def _copies(per_byte: float, start: float, powers: Powers) -> dict[str, OptionValue]:
    line = {"seconds_per_byte": rounded(per_byte / 1e9), "seconds": rounded(start / 1e3)}
    both = {f"{way}.{key}": value for way in ("copy_in", "copy_out") for key, value in line.items()}
    return {**both, "copy_w": rounded(powers.copy_w)}


def _watts(dynamic_w: float, static_share: float) -> dict[str, OptionValue]:
    return {"dynamic_w": rounded(dynamic_w), "static_w": rounded(dynamic_w * static_share)}
