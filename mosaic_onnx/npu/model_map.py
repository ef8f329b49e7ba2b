"""All layers of a model (or of a list) on one NPU: what ``mosaic-onnx npu map`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.costs.simulate import simulate
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest, ModelLayers, Refused
from mosaic_onnx.npu.search.dataflow import BEST, Result, best_dataflow, nest_on

SCHEMA = "mosaic-onnx/npu-map/1"
CostModel = Literal["analytical", "cycle"]


@dataclass(frozen=True)
class MappedLayer:
    """One layer of a map.

    Attributes:
        result: mapping, analytical cost and certificate.
        cycles: by the cost model asked for, rounded up.
        seconds: the same at the NPU's clock.
        joules: dynamic and static.
        utilisation: multiply-accumulates done, of those that the array could do in these cycles.
    """

    result: Result
    cycles: int
    seconds: float
    joules: float
    utilisation: float

    def as_fields(self) -> dict[str, Any]:
        """Return the layer as JSON, in the form that outside checks read."""
        result, mapping, cost = self.result, self.result.mapping, self.result.cost
        return {
            "name": result.layer.name,
            "macs": result.layer.macs,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "joules": self.joules,
            "utilisation": self.utilisation,
            "dram_bytes": round(cost.dram_bytes),
            "buffer_bytes": round(cost.buffer_bytes),
            "bound_cycles": ceil(cost.bound_cycles - 1e-9),
            "limited_by": cost.limited_by,
            "dataflow": result.dataflow,
            "spatial": None if mapping is None else str(mapping.spatial),
            "order": None if mapping is None else " ".join(mapping.order),
            "tiles": None if mapping is None else dict(mapping.tiles),
            "stationary": None if mapping is None else mapping.stationary,
            "double_buffered": None if mapping is None else mapping.double_buffered,
            "fused": list(result.layer.fused) if isinstance(result.layer, LoopNest) else [],
            "certificate": result.certificate.as_fields(),
        }


@dataclass(frozen=True)
class ModelMap:
    """A model on an NPU, layer after layer.

    Attributes:
        model: its name.
        hardware: the NPU.
        layers: in topological order.
        refused: what another device must run, and why.
    """

    model: str
    hardware: Hardware
    layers: tuple[MappedLayer, ...]
    refused: tuple[Refused, ...]

    @property
    def cycles(self) -> int:
        """Of all layers, one after the other."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def joules(self) -> float:
        """Of all layers."""
        return sum(layer.joules for layer in self.layers)

    def as_fields(self) -> dict[str, Any]:
        """Return the map as JSON (``mosaic-onnx/npu-map/1``, without the schema's key)."""
        return {
            "hardware": self.hardware.name,
            "simulated": True,
            "model": self.model,
            "layers": [layer.as_fields() for layer in self.layers],
            "refused": [vars(each) for each in self.refused],
            "cycles": self.cycles,
            "seconds": self.cycles / self.hardware.clock_hz,
            "joules": self.joules,
        }


def map_model(
    model: ModelLayers,
    hardware: Hardware,
    dataflow: str = BEST,
    objective: Objective = "latency",
    cost_model: CostModel = "analytical",
    cache: Cache | None = None,
) -> ModelMap:
    """Map every layer of a model; equal layers are searched once.

    A layer whose smallest tile does not fit the buffer joins those that the hardware refuses.

    Args:
        model: the layers.
        hardware: the NPU.
        dataflow: ``best``, a fixed one, or ``genetic``.
        objective: what each layer's mapping makes least.
        cost_model: how the mapping found is timed.
        cache: where mappings are kept; None searches anew.

    Raises:
        UsageError: no dataflow has this name, or the array cannot unroll its loops.
    """
    mapped: list[MappedLayer] = []
    refused = list(model.refused)
    done: dict[str, tuple[Result, float]] = {}
    for layer in model.layers:
        key = str(layer.key())
        if key not in done:
            try:
                result = best_dataflow(layer, hardware, objective, dataflow, cache)
            except InfeasibleError as error:
                refused.append(Refused(layer.name, "", error.message))
                continue
            done[key] = result, _cycles(result, hardware, cost_model)
        result, cycles = done[key]
        mapped.append(_mapped(Result(layer, *_rest(result)), cycles, hardware))
    return ModelMap(model.name, hardware, tuple(mapped), tuple(refused))


def _rest(result: Result) -> tuple[Any, ...]:
    return result.dataflow, result.cost, result.mapping, result.certificate


def _cycles(result: Result, hardware: Hardware, cost_model: CostModel) -> float:
    """Return the cycles by a cost model; vector work has the analytical one only."""
    if cost_model == "cycle" and result.mapping is not None and isinstance(result.layer, LoopNest):
        return simulate(nest_on(result.layer, hardware), hardware, result.mapping).cycles
    return result.cost.cycles


def _mapped(result: Result, cycles: float, hardware: Hardware) -> MappedLayer:
    whole = ceil(cycles - 1e-9)
    static_w = hardware.energy.static_w
    waited_j = static_w * (cycles - result.cost.cycles) / hardware.clock_hz
    used = result.layer.macs / (whole * hardware.array.mac_count) if whole else 0.0
    return MappedLayer(result, whole, whole / hardware.clock_hz, result.cost.joules + waited_j, used)
