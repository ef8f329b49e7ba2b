"""The command that schedules many models at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import split_words
from mosaic_onnx.core.compatibility import StrEnum

if TYPE_CHECKING:
    from rich.table import Table

    from mosaic_onnx.core.constraints import Constraints
    from mosaic_onnx.planner.core.request import Request
    from mosaic_onnx.scenarios.instance import Instance
    from mosaic_onnx.scenarios.solve import Scheduled


class SchedulerWord(StrEnum):
    """The scheduler."""

    ours = "ours"
    npu_only = "npu-only"
    best_mapping = "best-mapping"
    mosaic_each = "mosaic-each"
    band = "band"
    edf = "edf"


ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="Models with periods and deadlines.")]
Scheduler = Annotated[SchedulerWord, typer.Option("--scheduler", help="Our search, or a baseline.")]
SearchLimit = Annotated[float, typer.Option("--time-limit", metavar="SECONDS", min=0, help="For the search.")]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", min=1, help="Processes of the search. Default: one a core.")
]
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="Evaluate on a Ray cluster; local starts one on this machine."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="FILE", help="Keep the search's state here, and go on from what is there."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("schedule")(schedule)
    app.command("serve-scenario")(serve_scenario)


def schedule(
    scenario_file: ScenarioFile,
    output: opt.Output = None,
    device_words: opt.Devices = None,
    scheduler: Scheduler = SchedulerWord.ours,
    seed: opt.Seed = 0,
    time_limit: SearchLimit = 60.0,
    workers: Workers = None,
    ray: Ray = None,
    checkpoint: Checkpoint = None,
    situations: Annotated[
        bool, typer.Option("--situations", help="With -o: schedules for the loss of each device too.")
    ] = False,
    no_cache: opt.NoCache = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Plan many models with periods and deadlines on one machine: the least period multiplier that holds."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"scheduling {scenario_file}")
    from mosaic_onnx import api
    from mosaic_onnx.scenarios.schedule_file import schedule_to_fields
    from mosaic_onnx.scenarios.search.genetic import SearchOptions
    from mosaic_onnx.scenarios.solve import SchedulingOptions

    options = SchedulingOptions(
        scheduler=scheduler.value,
        search=SearchOptions(seed=seed, time_limit_s=time_limit),
        worker_count=workers,
        ray=ray,
        checkpoint=checkpoint,
    )
    words, cache, note = split_words(device_words or ()), not no_cache, reporter.note
    with reporter.progress(()) as bar:
        if output is None:
            instance = api.load_scenario(scenario_file, devices=words, cache=cache, progress=bar, note=note)
        else:
            instance, scheduled = api.schedule_site(
                scenario_file,
                output,
                devices=words,
                options=options,
                situations=situations,
                cache=cache,
                force=force,
                progress=bar,
                note=note,
            )
            reporter.result(str(output))
    if output is None:
        scheduled = api.schedule(instance, options, reporter.note)
    reporter.show(*_tables(instance, scheduled))
    reporter.result(f"period multiplier {scheduled.multiplier:.4g} (no schedule below {scheduled.bound.value:.4g})")
    fields = schedule_to_fields(instance, scheduled)
    reporter.emit(str(fields.pop("schema")), fields)


def serve_scenario(
    site: Annotated[Path, typer.Argument(metavar="SITE.mosaic", help="What schedule -o wrote.")],
    seconds: opt.ServedSeconds = 10.0,
    multiplier: opt.ServedMultiplier = 1.0,
    check_every: opt.CheckEvery = 50,
    trace: opt.Trace = None,
    seed: opt.Seed = 0,
    device_words: opt.OwnDevices = None,
    trust: opt.Trust = False,
    isolated: opt.Isolated = False,
    time_limit: opt.RunLimit = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Serve all models of a site by the wall clock (simulated devices: by a virtual one); rates, latencies, misses."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"loading {site}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.views.serving import live, statistics_tables
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.files.atomic import refuse_to_replace, write_atomically
    from mosaic_onnx.files.strict_json import dump

    if not multiplier > 0:
        raise UsageError(f"--multiplier {multiplier}: it must be above 0", "1 for the periods of the scenario")
    if trace is not None:
        refuse_to_replace(trace, force=force)
    served = api.serve_scenario(
        site,
        seconds=seconds,
        multiplier=multiplier,
        devices=split_words(device_words or ()),
        trust=trust,
        seed=seed,
        check_every=check_every,
        isolation=api.Isolation(time_limit) if isolated or time_limit is not None else None,
        watch=live(reporter),
    )
    if trace is not None:
        write_atomically(trace, dump(served.trace()).encode())
    reporter.show(*statistics_tables(served.statistics))
    wrong = sum(one.wrong_count for one in served.statistics.models)
    done = sum(one.completed_count for one in served.statistics.models)
    outputs = "simulated, nothing ran" if served.statistics.is_simulated else f"{wrong} with wrong outputs"
    reporter.result(f"{done} frames in {served.statistics.seconds:.1f} s, {outputs}")
    for loss in served.losses:
        reporter.note(f"after {loss.at_s:.1f} s without {loss.device}: {loss.reason}")
    reporter.emit("mosaic-onnx/served/1", {"multiplier": multiplier} | served.as_fields())


def plan_jointly(
    reporter: Reporter,
    profile_files: list[Path],
    request: Request,
    constraints: Constraints,
    output: Path | None,
    *,
    sum_latency: bool,
    pareto: bool,
) -> None:
    """Plan several profiles together, and print or write the plan.

    Raises:
        UsageError: the whole front is asked for.
    """
    from mosaic_onnx.cli.views.tables import milliseconds, plan_line, plan_table
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.files.atomic import write_atomically
    from mosaic_onnx.files.profile_file import read_profile
    from mosaic_onnx.files.strict_json import dump_lines
    from mosaic_onnx.scenarios.joint.plan import joint_plan_to_fields
    from mosaic_onnx.scenarios.joint.plan import plan_jointly as plan_together

    if pareto:
        raise UsageError("--pareto takes one profile", "leave it out, or plan each profile alone")
    profiles = [read_profile(path) for path in profile_files]
    names = [one.model_name or path.name for one, path in zip(profiles, profile_files, strict=True)]
    joint = plan_together(profiles, names, request, constraints, sum_latency=sum_latency)
    fields = joint_plan_to_fields(joint)
    reporter.show(plan_table(joint.merged.profile, joint.plan))
    if output is not None:
        write_atomically(output, dump_lines(fields).encode())
    for name, latency_s in zip(joint.merged.names, joint.latencies_s, strict=True):
        reporter.note(f"{name}: {milliseconds(latency_s)}")
    reporter.result(plan_line(joint.plan))
    reporter.emit(str(fields.pop("schema")), fields)


def _tables(instance: Instance, scheduled: Scheduled) -> list[Table]:
    """Return the groups' figures at the least period multiplier, and where the slices run."""
    from mosaic_onnx.cli.views.tables import milliseconds, table

    groups = [
        (
            figures.name,
            milliseconds(group.period_s * scheduled.multiplier),
            "–" if figures.mean_makespan_s is None else milliseconds(figures.mean_makespan_s),
            "–" if figures.p90_makespan_s is None else milliseconds(figures.p90_makespan_s),
            f"{figures.miss_share:.1%}",
            f"{figures.drop_share:.1%}",
        )
        for group, figures in zip(instance.groups, scheduled.groups, strict=True)
    ]
    states = instance.table.state_names
    models = [
        (
            str(scheduled.schedule.priority.index(m) + 1),
            model.name,
            " → ".join(f"{states[placed.state]} ({len(placed.layers)})" for placed in proposal),
        )
        for m, (model, proposal) in enumerate(zip(instance.models, scheduled.schedule.proposals, strict=True))
    ]
    title = f"at {scheduled.multiplier:.4g} times the periods (simulated), score {scheduled.score:.1f} of 100"
    columns = ("group", "period", "mean makespan", "90 %", "missed", "dropped")
    rivals = [
        (name, f"{value:.4g}", f"{value / scheduled.multiplier:.3f}") for name, value in scheduled.baselines.items()
    ]
    made = [table(title, columns, groups), table("slices (layers)", ("priority", "model", "runs on"), models)]
    return made + ([table("baselines", ("scheduler", "multiplier", "to ours"), rivals)] if rivals else [])
