"""Three small networks served by the wall clock: ours, Best Mapping, and sessions of their own, in turn.

On a machine that does anything else meanwhile the figures say nothing. Sites and figures are kept (``bench.records``),
so that an interrupted run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.many_models.as_served import instance_as_served
from bench.many_models.foreign_load import least_disturbed
from bench.many_models.scenario_rivals import OwnSessions
from bench.many_models.workload import write_scenario
from bench.records import FOLDER, Records
from bench.report import Row
from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.pipeline.site.folder import Site, read_site
from mosaic_onnx.pipeline.site.live import ServingOptions
from mosaic_onnx.pipeline.site.served import Served, serve_site, site_instance
from mosaic_onnx.scenarios.search.genetic import SearchOptions
from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.simulation.figures import group_figures
from mosaic_onnx.scenarios.simulation.multiplier import ScheduleEvaluator
from mosaic_onnx.scenarios.solve import SchedulingOptions

OURS, BEST_MAPPING, OWN = "ours", "best-mapping", "own sessions"
SATISFIED = 95.0
CORE_COUNT = 2
SEARCH_TRIES = 2
"""In the search for a least multiplier a step that others disturbed is taken so often."""
PRECISION = 1.05
"""The least satisfied multiplier is found within this ratio."""
ROOMS = (1.15, 1.5, 2.0)
"""Simulated and measured makespans are compared at so many times the least satisfied multiplier."""


def served_rows(kind: str, kinds: Sequence[str], *, quick: bool) -> Iterator[Row]:
    """Return the rows of one set of devices; ``quick`` serves once, for less time.

    Args:
        kind: what to call the devices.
        kinds: of which each of two cores has a device: a backend, and its precision where that is not f32.
        quick: for a look, not for a figure.
    """
    if len(usable_cores()) < CORE_COUNT:
        yield Row(f"{kind}: measured", float("nan"), "ratio", note="skipped: one core only")
        return
    name = kind.replace(", ", "-").replace(" ", "-")
    records = Records.of(f"scenarios-{name}", quick=quick)
    folder = FOLDER / f"scenarios{'.quick' if quick else ''}" / name
    yield from _measured(records, kind, _cores(kinds), folder, rounds=1 if quick else 2, seconds=1.5 if quick else 3.0)


def _cores(kinds: Sequence[str]) -> list[Device]:
    """Return a device for each of two cores and each kind; those of one core are its configurations."""
    made = []
    for core in usable_cores()[:CORE_COUNT]:
        for kind in kinds:
            backend, _, precision = kind.partition(" ")
            options = {"cores": str(core), "threads": 1}
            name, meta = "-".join(filter(None, (backend, precision, str(core)))), {"unit": f"core{core}"}
            made.append(Device(name, backend, precision=precision or "f32", options=options, meta=meta))
    return made


def _measured(
    records: Records, kind: str, devices: Sequence[Device], folder: Path, *, rounds: int, seconds: float
) -> Iterator[Row]:
    """Serve three networks by ours, by Best Mapping and in sessions of their own, in turn."""
    sites = {scheduler: _site(folder, devices, scheduler) for scheduler in (OURS, BEST_MAPPING)}
    own = _own_sessions(folder, sites[OURS])
    scores: dict[str, Callable[[float], float]] = {
        scheduler: lambda multiplier, site=site: _serve(site, seconds, multiplier).score  # type: ignore[misc]
        for scheduler, site in sites.items()
    }
    scores[OWN] = lambda multiplier: own.score(seconds, multiplier)
    begin = {scheduler: site.multiplier for scheduler, site in sites.items()} | {OWN: sites[BEST_MAPPING].multiplier}
    found: dict[str, list[float]] = {name: [] for name in scores}
    for number in range(rounds):
        for name, score in scores.items():
            key = f"{kind}: {name}, round {number}"
            measured = records.once(key, lambda s=score, at=begin[name]: _least(s, at))  # type: ignore[misc]
            found[name].append(measured["multiplier"])
    note = f"served {seconds:g} s at each multiplier, wall clock; the least satisfied within 5 %; {rounds} rounds"
    for name, multipliers in found.items():
        row = ", ".join(f"{one:.3g}" for one in multipliers)
        yield Row(f"{kind}: α* measured, {name}", _mean(multipliers), "ratio", note=f"{row}; {note}")
    for rival in (BEST_MAPPING, OWN):
        ratios = [ours / theirs for ours, theirs in zip(found[OURS], found[rival], strict=True)]
        interval = (min(ratios), max(ratios))
        name = f"{kind}: α* measured, ours over {rival}"
        yield Row(name, _mean(ratios), "ratio", 1 / 1.2, rival, _mean(ratios), interval, note)
    yield _own_load(records, kind, own, seconds, _mean(found[OWN]))
    yield from _errors(records, kind, sites[OURS], seconds, max(found[OURS]))


def _own_load(records: Records, kind: str, own: OwnSessions, seconds: float, multiplier: float) -> Row:
    """Return how busy the cores are where own sessions are just satisfied: what is left is all that order can gain."""

    def measure() -> Mapping[str, float]:
        score, watched = least_disturbed(lambda: own.score(seconds, multiplier))
        return {"score": score, "own": watched.own, "foreign": watched.foreign}

    figures = records.once(f"{kind}: cores under own sessions", measure)
    share = figures["own"] / CORE_COUNT
    note = f"no order of the same work can gain more than {1 / share:.2f}; others took {figures['foreign']:.2f} cores"
    return Row(f"{kind}: share of two cores at work under own sessions at their α*", share, "share", note=note)


def _errors(records: Records, kind: str, site: Site, seconds: float, multiplier: float) -> Iterator[Row]:
    """Compare group makespans: simulated by the site's figures, and by the times of the very slices that were served.

    The first error has in it that a machine is faster at one time than at another; the second is the simulator's own.
    """
    errors: dict[str, list[float]] = {"by the site": [], "by the same slices": []}
    foreign = []
    for room in ROOMS:
        at = room * multiplier
        figures = records.once(f"{kind}: makespans at {room:g}", lambda at=at: _makespan_errors(site, seconds, at))  # type: ignore[misc]
        for name, row in errors.items():
            row.extend(figures[name])
        foreign.append(figures["foreign"])
    others = ", ".join(f"{one:.2f}" for one in foreign)
    for name, row in errors.items():
        words = f"{', '.join(f'{one:+.1%}' for one in row)}; others took {others} cores"
        bar = 0.10 if name == "by the site" else None
        title = f"{kind}: mean error of group makespans simulated {name}"
        yield Row(title, float(np.mean(np.abs(row))), "share", bar, "measured", note=words)


def _site(folder: Path, devices: Sequence[Device], scheduler: str) -> Site:
    """Return the site of a scheduler; made where it is not there."""
    target = folder / f"{scheduler}.mosaic"
    if target.exists():
        return read_site(target)
    folder.mkdir(parents=True, exist_ok=True)
    scenario = write_scenario(folder)
    write_devices(devices, folder / "devices.toml", force=True)
    options = SchedulingOptions(scheduler, SearchOptions(time_limit_s=20.0))
    api.schedule_site(scenario, target, devices=[str(folder / "devices.toml")], options=options)
    return read_site(target)


def _own_sessions(folder: Path, site: Site) -> OwnSessions:
    inputs = {name: make_inputs(bundle.original(), 0) for name, bundle in site.bundles.items()}
    paths = {name: folder / f"{name.partition('/')[2]}.onnx" for name in site.bundles}
    return OwnSessions(site.groups, paths, inputs)


def _least(score: Callable[[float], float], start: float) -> Mapping[str, float]:
    """Return the least satisfied multiplier, by steps of a quarter from a guess, then by bisection.

    It comes with the most that others took of the processors meanwhile, in cores.
    """
    foreign = [0.0]

    def is_satisfied(multiplier: float) -> bool:
        figure, watched = least_disturbed(lambda: score(multiplier), SEARCH_TRIES)
        foreign.append(watched.foreign)
        return figure >= SATISFIED

    low = high = start
    if is_satisfied(start):
        while is_satisfied(low := low / 1.25) and low > 1e-3:
            high = low
    else:
        while not is_satisfied(high := high * 1.25) and high < 1e3:
            low = high
    while high / low > PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_satisfied(middle) else (middle, high)
    return {"multiplier": high, "foreign": max(foreign)}


def _mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _makespan_errors(site: Site, seconds: float, multiplier: float) -> Mapping[str, Any]:
    """Return (simulated - measured) / measured of the mean makespan of each group, by what the simulation goes by."""
    served, watched = least_disturbed(lambda: _serve(site, seconds, multiplier))
    measured = {group.name: _mean_makespan_s(group.name, served.frames) for group in site.groups}
    errors: dict[str, Any] = {"foreign": watched.foreign}
    ways = {
        "by the site": site_instance(site, multiplier),
        "by the same slices": instance_as_served(site, served.frames, multiplier),
    }
    for name, (instance, schedule) in ways.items():
        errors[name] = [
            ((figures.mean_makespan_s or 0.0) - measured[figures.name]) / measured[figures.name]
            for figures in group_figures(ScheduleEvaluator(instance, schedule).run(1.0), instance)
        ]
    return errors


def _serve(site: Site, seconds: float, multiplier: float) -> Served:
    return serve_site(site, seconds=seconds, options=ServingOptions(multiplier))


def _mean_makespan_s(group: str, frames: Sequence[Frame]) -> float:
    by_request: dict[int, float] = {}
    for frame in frames:
        if frame.model.startswith(f"{group}/") and frame.latency_s is not None:
            by_request[frame.number] = max(by_request.get(frame.number, 0.0), frame.latency_s)
    return float(np.mean(list(by_request.values())))
