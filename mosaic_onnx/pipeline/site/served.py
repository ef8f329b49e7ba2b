"""A site served for a while, on its devices or, where they are simulated, by a virtual clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.pipeline.site.folder import Site
from mosaic_onnx.pipeline.site.live import DeviceLoss, LiveSite, ServingOptions, Situation
from mosaic_onnx.pipeline.site.serve import scaled
from mosaic_onnx.planning.profile_plan import proposal_of
from mosaic_onnx.scenarios.instance import SLOWDOWN_KEY, Instance, build_instance
from mosaic_onnx.scenarios.scenario import Scenario
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.serving.perfetto import scenario_trace
from mosaic_onnx.scenarios.serving.statistics import ScenarioStatistics, Tally
from mosaic_onnx.scenarios.serving.virtual import serve_virtually
from mosaic_onnx.scenarios.unit_times import UNIT_TIMES_KEY

Show = Callable[[ScenarioStatistics], None]
Watch = Callable[[], AbstractContextManager[Show | None]]
_SHOW_EVERY_S = 0.5


@dataclass(frozen=True)
class Served:
    """The result of serving a scenario.

    Attributes:
        site: what was served.
        frames: those that are over, of a long run the last.
        statistics: what they came to.
        losses: devices that failed meanwhile, whose frames ran again elsewhere.
    """

    site: Site
    frames: tuple[Frame, ...]
    statistics: ScenarioStatistics
    losses: tuple[DeviceLoss, ...] = ()

    @property
    def score(self) -> float:
        """Return XRBench's score, time only: as in the simulation, of the frames that ran."""
        weights = {f"{group.name}/{entry.name}": group.weight for group in self.site.groups for entry in group.models}
        scores = {one.name: one.score for one in self.statistics.models}
        return 100.0 * float(np.average([scores[name] for name in weights], weights=list(weights.values())))

    def as_fields(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        lost = [asdict(loss) for loss in self.losses]
        return {"score": self.score} | self.statistics.as_fields() | {"lost_devices": lost}

    def trace(self) -> dict[str, Any]:
        """Return a Chrome trace: a lane a device, a colour a model."""
        return scenario_trace(self.frames, list(self.site.bundles), list(self.statistics.utilisation))


def serve_site(
    site: Site,
    *,
    seconds: float,
    options: ServingOptions | None = None,
    situations: Mapping[Situation, Site] | None = None,
    watch: Watch = nullcontext,
) -> Served:
    """Serve a site for a while.

    Args:
        site: what to serve.
        seconds: requests arrive for so long.
        options: how; None for the usual ones.
        situations: what to serve instead when devices fail, by the devices that are gone.
        watch: shows statistics while it runs.

    Raises:
        UsageError: a device is not here.
        BackendError: a slice cannot be loaded.
    """
    options = options or ServingOptions()
    if site.simulated and set(site.simulated) >= set(site.devices):
        return _serve_simulated(site, seconds, options.multiplier, options.seed)
    table = {**(situations or {}), frozenset[str](): site}
    with LiveSite(table, options) as live, watch() as show:
        live.start()
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _SHOW_EVERY_S))
            if show is not None:
                show(live.statistics())
        live.stop()
        return Served(site, live.frames, live.statistics(), live.losses)


def site_instance(
    site: Site, multiplier: float = 1.0, profiles: Mapping[str, Profile] | None = None
) -> tuple[Instance, Schedule]:
    """Return the site as the simulator sees it, its periods scaled; by other profiles than its bundles' where given."""
    scenario = Scenario(scaled(site.groups, multiplier), site.drop)
    meta = {SLOWDOWN_KEY: site.slowdowns, UNIT_TIMES_KEY: site.unit_times}
    profiles = profiles or {name: bundle.profile for name, bundle in site.bundles.items()}
    instance = build_instance(scenario, [replace(profiles[name], meta=meta) for name in site.bundles])
    names = list(site.bundles)
    proposals = tuple(proposal_of(bundle.profile, bundle.plan) for bundle in site.bundles.values())
    return instance, Schedule(proposals, tuple(names.index(name) for name in site.priority), site.policy)


def _serve_simulated(site: Site, seconds: float, multiplier: float, seed: int) -> Served:
    instance, schedule = site_instance(site, multiplier)
    frames = serve_virtually(instance, schedule, seconds, seed)
    ends = [frame.completion_s for frame in frames if frame.completion_s is not None]
    lasted_s = max([seconds, *ends])
    statistics = Tally(frames).statistics(site.bundles, instance.unit_names, lasted_s, is_simulated=True)
    return Served(site, frames, statistics)
