"""Many models at once: exact figures, request frequency over the baselines, simulated against measured.

The simulated rows need no device. The measured rows serve three small networks on two one-core CPU devices by the wall
clock: on a machine that does anything else meanwhile they say nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from bench.many_models.scenario_rivals import OwnSessions
from bench.report import Row
from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.files.device_file import read_shipped, write_devices
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.pipeline.site.folder import Site, read_site
from mosaic_onnx.pipeline.site.served import serve_site, site_instance
from mosaic_onnx.reproduce.puzzle.compare import compare, geometric_mean
from mosaic_onnx.reproduce.puzzle.random_scenarios import profiles_of, random_scenario
from mosaic_onnx.reproduce.workloads import highest_only
from mosaic_onnx.scenarios.search.genetic import SearchOptions
from mosaic_onnx.scenarios.simulation.figures import group_figures
from mosaic_onnx.scenarios.simulation.multiplier import ScheduleEvaluator
from mosaic_onnx.scenarios.solve import SchedulingOptions
from mosaic_onnx.zoo import build

NETWORKS = ("squeezenet", "mnasnet_0.5", "mobilenet_v2_1.0")
SCENARIO = """schema = "mosaic-onnx/scenario/1"
[[groups]]
name = "camera"
period_ms = 60
models = ["squeezenet.onnx", "mobilenet_v2_1.0.onnx"]
[[groups]]
name = "gesture"
period_ms = 30
models = ["mnasnet_0.5.onnx"]
"""


def run(quick: bool) -> list[Row]:
    """All rows; ``quick`` draws fewer scenarios and serves for less time."""
    return [*_simulated(2 if quick else 10, 5.0 if quick else 60.0), *_measured(2.0 if quick else 10.0)]


def _simulated(count: int, time_limit_s: float) -> list[Row]:
    """Random scenarios on the described HiKey 970."""
    profiles = profiles_of(highest_only(read_shipped("hikey970")))
    outcomes = compare([random_scenario(profiles, number, 0) for number in range(count)], time_limit_s, 0)
    note = f"{count} scenarios, geometric mean, simulated"
    rows = []
    for name in ("npu-only", "best-mapping", "mosaic-each", "band", "edf"):
        over = geometric_mean([1 / one.ratio(name) for one in outcomes])
        rows.append(
            Row(f"α*, ours over {name}", over.value, "ratio", 1.0, name, over.value, (over.low, over.high), note)
        )
    gap = geometric_mean([1 + one.gap for one in outcomes])
    rows.append(Row("α*, ours over the bound", gap.value, "ratio", None, "bound", gap.value, (gap.low, gap.high), note))
    return rows


def _measured(seconds: float) -> list[Row]:
    """Three networks on two one-core devices: ours, Best Mapping, and own sessions, in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sites = {scheduler: _site(folder, scheduler) for scheduler in ("ours", "best-mapping")}
        own = _own_sessions(folder, sites["ours"])
        least = {scheduler: _least(lambda m, site=site: _score(site, seconds, m)) for scheduler, site in sites.items()}
        least["own sessions"] = _least(lambda m: own.score(seconds, m))
        error = _makespan_error(sites["ours"], seconds, 1.25 * least["ours"])
    note = f"served {seconds:g} s at each multiplier, wall clock; the least satisfied within 5 %"
    rows = [Row("α* measured, ours", least["ours"], "ratio", note=note)]
    for rival in ("best-mapping", "own sessions"):
        ratio = least["ours"] / least[rival]
        rows.append(Row(f"α* measured, ours over {rival}", ratio, "ratio", 1 / 1.2, rival, ratio, note=note))
    rows.append(Row("mean error of simulated group makespans", error, "share", 0.10, "measured", note=note))
    return rows


def _site(folder: Path, scheduler: str) -> Site:
    for network in NETWORKS:
        if not (folder / f"{network}.onnx").exists():
            onnx.save(build(network), folder / f"{network}.onnx")
    (folder / "scenario.toml").write_text(SCENARIO)
    devices = [Device(f"core{n}", "onnxruntime", options={"cores": str(n), "threads": 1}) for n in range(2)]
    write_devices(devices, folder / "devices.toml", force=True)
    options = SchedulingOptions(scheduler, SearchOptions(time_limit_s=30.0))
    target = folder / f"{scheduler}.mosaic"
    api.schedule_site(folder / "scenario.toml", target, devices=[str(folder / "devices.toml")], options=options)
    return read_site(target)


def _own_sessions(folder: Path, site: Site) -> OwnSessions:
    inputs = {name: make_inputs(bundle.original(), 0) for name, bundle in site.bundles.items()}
    paths = {name: folder / f"{name.partition('/')[2]}.onnx" for name in site.bundles}
    return OwnSessions(site.groups, paths, inputs)


def _score(site: Site, seconds: float, multiplier: float) -> float:
    return serve_site(site, seconds=seconds, multiplier=multiplier).score


def _least(score: Callable[[float], float], precision: float = 1.05) -> float:
    """The least satisfied multiplier, by doubling and bisection."""
    low, high = 0.05, 0.1
    while score(high) < 95.0 and high < 100:
        low, high = high, 2 * high
    while high / low > precision:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if score(middle) >= 95.0 else (middle, high)
    return high


def _makespan_error(site: Site, seconds: float, multiplier: float) -> float:
    """The mean over groups of |simulated − measured| / measured of the mean makespan."""
    served = serve_site(site, seconds=seconds, multiplier=multiplier)
    instance, schedule = site_instance(replace(site), multiplier)
    figures = group_figures(ScheduleEvaluator(instance, schedule).run(1.0), instance)
    errors = []
    for group, simulated in zip(site.groups, figures, strict=True):
        by_request: dict[int, float] = {}
        for frame in served.frames:
            if frame.model.startswith(f"{group.name}/") and frame.latency_s is not None:
                by_request[frame.number] = max(by_request.get(frame.number, 0.0), frame.latency_s)
        measured = float(np.mean(list(by_request.values())))
        errors.append(abs((simulated.mean_makespan_s or 0.0) - measured) / measured)
    return float(np.mean(errors))
