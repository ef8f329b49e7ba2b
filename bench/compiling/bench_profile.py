"""The time of profiling with an empty and a filled cache, and the accuracy of its predictions for slices."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from bench.report import Row
from bench.workloads import SHARED
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.discovery.registry import backends, find_all
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import Normalised, normalise
from mosaic_onnx.profiling.measure_slices import Choice, measure_segments
from mosaic_onnx.profiling.profile_model import ProfileOptions, profile_model

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MODELS = ("light_squeezenet", "light_inception_v2", "light_resnet50")
COLD_BAR_S, WARM_BAR_S = 35.0, 2.0
SLICE_COUNT = 8
"""Slices drawn at random for each device and model."""


@dataclass(frozen=True)
class Case:
    """A model and its profile."""

    name: str
    normalised: Normalised
    graph: LayerGraph
    devices: tuple[Device, ...]
    options: ProfileOptions


def run(quick: bool) -> list[Row]:
    fill = SHARED / "tools" / "fill_weights.py"
    if not fill.is_file():
        return [Row("profile", float("nan"), "s", note="skipped: shared/tools/fill_weights.py is absent")]
    inventory = find_all()
    devices = tuple(inventory.devices[name] for name in ("cpu", "openvino") if name in inventory.devices)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS[:1] if quick else MODELS:
            target = Path(folder) / f"{name}.onnx"
            subprocess.run([sys.executable, fill, "light", LIGHT / f"{name}.onnx", target], check=True)
            cache = Cache(Path(folder) / f"{name}.cache")
            normalised = normalise(open_model(target))
            options = ProfileOptions(model_name=name, cache=cache, versions=inventory.versions)
            rows += _rows(Case(name, normalised, layerize(normalised), devices, options))
    return rows


def _rows(case: Case) -> Iterator[Row]:
    cold_s, profile = _timed(case)
    warm_s, again = _timed(case)
    note = f"{len(case.graph.layers)} layers on {', '.join(device.name for device in case.devices)}"
    yield Row(f"{case.name}: profile, cold", cold_s, "s", COLD_BAR_S, note=f"{note}; one run")
    same = "says the same" if again == profile else "SAYS SOMETHING ELSE"
    yield Row(f"{case.name}: profile, warm", warm_s, "s", WARM_BAR_S, note=f"{same}; one run")
    for device in case.devices:
        yield _sum_of_layers(case, profile, device)
        yield _slices(case, profile, device)


def _timed(case: Case) -> tuple[float, Profile]:
    started = time.perf_counter()
    profile = profile_model(case.normalised, case.graph, case.devices, backends(), case.options)
    return time.perf_counter() - started, profile


def _sum_of_layers(case: Case, profile: Profile, device: Device) -> Row:
    """Return the layers' sum against a new measurement of the whole model."""
    last = len(case.graph.layers) - 1
    measured_s = _measured(case, device, [(0, last)])[0, last]
    predicted_s = _predicted(profile, device, 0, last)
    name = f"{case.name}: sum of layers on {device.name}"
    return Row(name, predicted_s * 1e3, "ms", None, "the whole model, measured", predicted_s / measured_s)


def _slices(case: Case, profile: Profile, device: Device) -> Row:
    """Return rows of random slices: layers' sum and cut penalty against a new measurement."""
    random, count = np.random.default_rng(0), len(case.graph.layers)
    spans = [tuple(sorted(random.choice(count, 2, replace=False).tolist())) for _ in range(SLICE_COUNT)]
    measured = _measured(case, device, [(first, last) for first, last in spans])
    errors = [_predicted(profile, device, *span) / seconds - 1 for span, seconds in measured.items()]
    mean = float(np.mean(np.abs(errors)))
    note = f"{len(errors)} slices; worst {max(errors, key=abs):+.1%}, mean {np.mean(errors):+.1%}"
    return Row(
        f"{case.name}: predicted slices on {device.name}, mean error", mean, "ratio", None, "measured", note=note
    )


def _measured(case: Case, device: Device, spans: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Return new measurements of slices, without a cache."""
    choices: list[Choice] = [(first, last, device.name) for first, last in spans]
    options = ProfileOptions(effort=case.options.effort)
    found = measure_segments(case.normalised, case.graph, choices, [device], backends(), options)
    return {(one.first, one.last): one.seconds for one in found.segments}


def _predicted(profile: Profile, device: Device, first: int, last: int) -> float:
    """Return the planner's prediction for a slice that was not measured."""
    costs = [layer.cost[device.name] for layer in profile.layers[first : last + 1]]
    slice_s = next(one.slice_seconds for one in profile.devices if one.name == device.name)
    return sum(cost.seconds if cost else float("nan") for cost in costs) + slice_s
