"""Design an emulated NPU for models: they are profiled on the other devices once, then every size is planned."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mosaic_onnx.core.progress import say_nothing
from mosaic_onnx.discovery.selection import participation, select
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.explore.explore import Exploration, explore, explored_model
from mosaic_onnx.npu.explore.sweep import sweep as points_of
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.options import PathLike
from mosaic_onnx.pipeline.pipelines import PROFILE


def explore_npu(
    models: Sequence[PathLike],
    hardware: PathLike,
    sweep: Sequence[str] = (),
    *,
    devices: Sequence[str] = ("cpu",),
    objective: Objective = "latency",
    cache: bool = True,
    worker_count: int | None = None,
    note: Callable[[str], None] = say_nothing,
) -> Exploration:
    """Sweep the sizes of an emulated NPU, and plan models on it and other devices for each.

    Args:
        models: the models' files.
        hardware: the NPU to start from: a preset's name, or an ``npu.toml``.
        sweep: ``AXIS=VALUES`` each (``npu.explore.sweep``).
        devices: beside the NPU.
        objective: what each mapping makes least.
        cache: keep measurements and mappings, and use kept ones: a run that was stopped goes on.
        worker_count: processes; None for one a core.
        note: told what was assumed, and each point that is done.

    Raises:
        ModelError: a file is refused.
        UsageError: a device, the hardware or the sweep is wrong.
        BackendError: a device failed.
    """
    base = load_hardware(hardware)
    points = points_of(base, sweep)
    selection = select(devices)
    for line in participation(selection):
        note(line)
    explored = []
    for model in models:
        done = run_passes(PROFILE, State(Path(model), selection, Cache() if cache else None, note))
        name = os.path.basename(os.fspath(model))
        explored.append(explored_model(name, done.normalised.model, done.graph, done.profile, base))
    folder = Cache().folder if cache else None
    return explore(base, points, explored, objective, folder, worker_count, note)
