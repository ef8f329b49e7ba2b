"""One NPU and some models: every operator in its best mapping, and each model's cut between other devices and it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost, Profile
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.backend.backend import link_costs
from mosaic_onnx.npu.backend.costs import LayerCosts, NpuPart
from mosaic_onnx.npu.backend.options import device_like
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.explore.sweep import SweptHardware
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.search.dataflow import BEST
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve


@dataclass(frozen=True)
class ExploredModel:
    """A model to design for.

    Attributes:
        name: what tables call it.
        profile: its layers on the devices beside the NPU.
        parts: [L] each layer as an NPU sees it.
    """

    name: str
    profile: Profile
    parts: tuple[NpuPart, ...]


@dataclass(frozen=True)
class ModelOutcome:
    """One model with one NPU beside the other devices.

    Attributes:
        model: its name.
        seconds: of the planned cut.
        joules: of the planned cut; None where the other devices' energy is not known.
        bound_seconds: no cut is faster, as far as the planner proved; None where it proved nothing.
        slice_count: of the cut.
        npu_layer_count: layers that the cut gives to the NPU.
        runnable_layer_count: layers that the NPU could run.
        layer_count: of the model.
        runnable_seconds: of all layers that the NPU could run, on it.
        runnable_joules: likewise.
    """

    model: str
    seconds: float
    joules: float | None
    bound_seconds: float | None
    slice_count: int
    npu_layer_count: int
    runnable_layer_count: int
    layer_count: int
    runnable_seconds: float
    runnable_joules: float


@dataclass(frozen=True)
class Point:
    """One NPU of a sweep.

    Attributes:
        name: the NPU's.
        settings: what differs from the base, in words.
        area_mm2: of the NPU; None where the description has no areas.
        outcomes: one a model; empty where some model cannot be run.
        failure: why it cannot; empty where it can.
    """

    name: str
    settings: Mapping[str, str]
    area_mm2: float | None
    outcomes: tuple[ModelOutcome, ...] = ()
    failure: str = ""

    @property
    def seconds(self) -> float:
        """Return the sum over the models, one run each."""
        return sum(one.seconds for one in self.outcomes)

    @property
    def joules(self) -> float:
        """Return the sum over the models: of the plans where they are known, else of what the NPU could run, on it."""
        return sum(one.runnable_joules if one.joules is None else one.joules for one in self.outcomes)


def evaluate_point(
    swept: SweptHardware, models: Sequence[ExploredModel], objective: Objective, cache: Cache | None
) -> Point:
    """Return one NPU's outcomes.

    Args:
        swept: the NPU.
        models: to run, one after the other.
        objective: of the mappings.
        cache: where mappings are kept; what is there already is not searched again.
    """
    hardware = swept.hardware
    point = Point(hardware.name, dict(swept.settings), hardware.area_mm2)
    costs = LayerCosts(hardware, BEST, objective, cache)
    try:
        outcomes = tuple(_outcome(model, hardware, costs) for model in models)
    except InfeasibleError as error:
        return replace(point, failure=error.message)
    return replace(point, outcomes=outcomes)


def _outcome(model: ExploredModel, hardware: Hardware, costs: LayerCosts) -> ModelOutcome:
    """Return one model's outcome.

    Raises:
        InfeasibleError: some layer runs nowhere.
    """
    said = [costs.of(part) for part in model.parts]
    profile = with_npu(model.profile, hardware, said)
    npu = profile.devices[-1].name
    plan = solve(cost_table(profile), Request()).plan
    runnable = [cost for cost in said if isinstance(cost, Cost)]
    return ModelOutcome(
        model=model.name,
        seconds=plan.predicted.seconds,
        joules=plan.predicted.joules,
        bound_seconds=None if plan.bound is None else plan.bound.value,
        slice_count=len(plan.slices),
        npu_layer_count=sum(len(one.layers) for one in plan.slices if device_of(one.state) == npu),
        runnable_layer_count=len(runnable),
        layer_count=len(said),
        runnable_seconds=sum(cost.seconds for cost in runnable),
        runnable_joules=sum(cost.joules or 0.0 for cost in runnable),
    )


def with_npu(profile: Profile, hardware: Hardware, said: Sequence[Cost | str]) -> Profile:
    """Return the profile with an NPU beside its devices, each layer in its best mapping.

    Args:
        profile: of the other devices.
        hardware: the NPU.
        said: [L] cost of each layer on it, or the reason why it cannot run there.
    """
    device = device_like(hardware, (BEST,))
    state = device.states[0]
    has_joules = any(
        cost is not None and cost.joules is not None for one in profile.layers for cost in one.cost.values()
    )
    layers = []
    for layer, cost in zip(profile.layers, said, strict=True):
        if isinstance(cost, str):
            layers.append(replace(layer, cost={**layer.cost, state: None}, reasons={**layer.reasons, state: cost}))
        else:
            own = cost if has_joules else replace(cost, joules=None)
            layers.append(replace(layer, cost={**layer.cost, state: own}))
    return replace(
        profile,
        devices=(*profile.devices, device),
        layers=tuple(layers),
        copies=(*profile.copies, *link_costs(hardware, device.name)),
    )
