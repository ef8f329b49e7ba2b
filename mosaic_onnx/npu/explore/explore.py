"""All points of a sweep on all cores; searches are kept in the cache, so that a run that was stopped goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import onnx

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.layer_facts import layer_facts
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.core.process.worker_pool import worker_pool
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.npu.backend.costs import NpuPart, parts_of
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.explore.evaluate import ExploredModel, Point, evaluate_point
from mosaic_onnx.npu.explore.front import pareto_front
from mosaic_onnx.npu.explore.sweep import SweptHardware
from mosaic_onnx.npu.hardware.description import Hardware

SCHEMA = "mosaic-onnx/npu-explore/1"


@dataclass(frozen=True)
class Exploration:
    """A sweep that was evaluated.

    Attributes:
        base: the NPU that it started from.
        models: names.
        devices: beside the NPU.
        points: in the sweep's order.
        front: places of the points that none beats.
        has_plan_joules: ``Point.joules`` are those of whole plans; else of what the NPU could run, on it.
    """

    base: Hardware
    models: tuple[str, ...]
    devices: tuple[str, ...]
    points: tuple[Point, ...]
    front: tuple[int, ...]
    has_plan_joules: bool

    def as_fields(self) -> dict[str, Any]:
        """Return it as JSON (``mosaic-onnx/npu-explore/1``, without the schema's key)."""
        return {
            "hardware": self.base.name,
            "simulated": True,
            "models": list(self.models),
            "devices": list(self.devices),
            "joules_of": "plans" if self.has_plan_joules else "layers that the NPU can run, on it",
            "points": [
                asdict(point) | {"seconds": point.seconds, "joules": point.joules, "is_on_front": place in self.front}
                for place, point in enumerate(self.points)
            ],
            "front": [self.points[place].name for place in self.front],
        }


def explored_model(
    name: str, model: onnx.ModelProto, graph: LayerGraph, profile: Profile, hardware: Hardware
) -> ExploredModel:
    """Return a model to design for.

    Args:
        name: what tables call it.
        model: the normalised model.
        graph: its layers.
        profile: of these layers on the devices beside the NPU.
        hardware: the sweep's base, which decides what an NPU refuses.

    Raises:
        UsageError: the profile's layers are not the graph's.
    """
    if tuple(layer.name for layer in profile.layers) != tuple(layer.name for layer in graph.layers):
        raise UsageError(f"{name}: the profile's layers are not those of the model", "profile the same file anew")
    return ExploredModel(name, profile, parts_of(layer_facts(graph, model), hardware))


def explore(
    base: Hardware,
    sweep: Sequence[SweptHardware],
    models: Sequence[ExploredModel],
    objective: Objective = "latency",
    cache_folder: Path | None = None,
    worker_count: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Exploration:
    """Evaluate all points; the result does not depend on the number of cores.

    Args:
        base: the NPU that the sweep started from.
        sweep: its points.
        models: to run, one after the other.
        objective: of the mappings.
        cache_folder: where mappings are kept, so that a run that was stopped goes on; None searches anew.
        worker_count: processes; None for one a core.
        note: called when a point is done.
    """
    sent = tuple((model.name, profile_to_json(model.profile), model.parts) for model in models)
    work = partial(_evaluated, sent=sent, objective=objective, cache_folder=cache_folder)
    count = min(worker_count or len(usable_cores()), len(sweep))
    points: list[Point] = []
    with worker_pool(count) as pool:
        for point in pool.map(work, sweep):
            points.append(point)
            said = point.failure or f"{point.seconds * 1e3:.4g} ms, {point.joules * 1e3:.4g} mJ"
            note(f"{len(points)} of {len(sweep)}: {point.name}: {said}")
    devices = tuple(dict.fromkeys(device.name for model in models for device in model.profile.devices))
    known = [one.joules is not None for point in points for one in point.outcomes]
    return Exploration(
        base, tuple(model.name for model in models), devices, tuple(points), pareto_front(points), all(known)
    )


_Sent = tuple[str, str, tuple[NpuPart, ...]]
"""A model on its way to another process: its name, its profile as JSON, its parts."""


def _evaluated(swept: SweptHardware, sent: Sequence[_Sent], objective: Objective, cache_folder: Path | None) -> Point:
    models = [ExploredModel(name, _profile(text), parts) for name, text, parts in sent]
    return evaluate_point(swept, models, objective, None if cache_folder is None else Cache(cache_folder))


@lru_cache(maxsize=16)
def _profile(text: str) -> Profile:
    return profile_from_json(text)
