"""Many models with deadlines on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from mosaic_onnx.api.profiling import profile
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.core.progress import Note, say_nothing
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.files.atomic import refuse_to_replace
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.pipeline.options import PathLike
from mosaic_onnx.pipeline.site.device_loop import schedule_measured
from mosaic_onnx.pipeline.site.folder import write_site
from mosaic_onnx.pipeline.site.live import Isolation, ServingOptions
from mosaic_onnx.pipeline.site.profiled import profile_scenario
from mosaic_onnx.pipeline.site.served import Served, Watch, serve_site
from mosaic_onnx.pipeline.site.situations import read_situations, write_situations
from mosaic_onnx.pipeline.site.slowdowns import measure_slowdowns
from mosaic_onnx.profiling.progress import Progress
from mosaic_onnx.scenarios.file import read_scenario
from mosaic_onnx.scenarios.instance import Instance, build_instance
from mosaic_onnx.scenarios.loading import load_profiles
from mosaic_onnx.scenarios.solve import Scheduled, SchedulingOptions, schedule_instance


def load_scenario(
    scenario: PathLike,
    *,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
) -> Instance:
    """Return a scenario with the costs of its models: profiles are read, models are profiled on the devices.

    Raises:
        ModelError: the scenario, a model or a profile is wrong, or they do not name the same devices.
        UsageError: a device does not fit.
        BackendError: a device failed.
    """
    asked = read_scenario(scenario)

    def profiled(model: Path) -> Profile:
        return profile(model, devices=devices, cache=cache, progress=progress, note=note)

    return build_instance(asked, load_profiles(asked, profiled, has_devices=bool(devices)))


def schedule(
    scenario: Instance | PathLike, options: SchedulingOptions | None = None, note: Note = say_nothing
) -> Scheduled:
    """Return the schedule of least period multiplier that the scheduler finds for many models on one machine.

    Raises:
        ModelError: the scenario is wrong.
        InfeasibleError: no schedule can run.
        UsageError: there is no such scheduler.
    """
    instance = scenario if isinstance(scenario, Instance) else load_scenario(scenario, note=note)
    return schedule_instance(instance, options, note)


def schedule_site(
    scenario: PathLike,
    output: PathLike,
    *,
    devices: Sequence[str] = (),
    options: SchedulingOptions | None = None,
    situations: bool = False,
    cache: bool = True,
    force: bool = False,
    progress: Progress | None = None,
    note: Note = say_nothing,
) -> tuple[Instance, Scheduled]:
    """Profile, schedule, measure, cut, prove and write all models of a scenario as one site.

    Args:
        scenario: the file; its models must be ONNX models.
        output: the site's folder.
        devices: names, devices files or shipped descriptions; none for the default set.
        options: by which scheduler, how long.
        situations: schedule for the loss of each device too (``pipeline.site.live``).
        cache: keep measurements, and use kept ones.
        force: replace a site that is there.
        progress: told how far the measuring has come.
        note: told what was assumed.

    Raises:
        MosaicError: of the kind that the thing has: model, usage, infeasible, outputs differ, backend.
    """
    refuse_to_replace(output, force=force)
    kept = Cache() if cache else None
    profiled = profile_scenario(read_scenario(scenario), select(devices), kept, note, progress)
    profiled = replace(profiled, slowdowns=measure_slowdowns(profiled.state(0)))
    profiled, instance, scheduled = schedule_measured(profiled, options or SchedulingOptions(), note)

    def write_more(folder: Path) -> None:
        if situations:
            write_situations(profiled, options or SchedulingOptions(), folder, note)

    write_site(profiled, instance, scheduled, Path(output), force=force, more=write_more)
    return instance, scheduled


def serve_scenario(
    site: PathLike,
    *,
    seconds: float = 10.0,
    multiplier: float = 1.0,
    devices: Sequence[str] = (),
    trust: bool = False,
    seed: int = 0,
    check_every: int = 50,
    isolation: Isolation | None = None,
    watch: Watch = nullcontext,
) -> Served:
    """Serve all models of a site for a while; see ``pipeline.site.served.serve_site``.

    Raises:
        ModelError: the site is damaged.
        UsageError: a device is not here.
        BackendError: a slice cannot be loaded.
    """
    situations = read_situations(Path(site))
    options = ServingOptions(multiplier, devices, trust, seed, check_every, isolation)
    site_itself = situations.pop(frozenset())
    return serve_site(site_itself, seconds=seconds, options=options, situations=situations, watch=watch)
