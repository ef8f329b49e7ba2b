"""The site: the folder that serves a scenario (``mosaic-onnx/site/1``), written whole or not at all.

=====================  ====================================================================
``site.json``          groups with their periods, the models' folders, what was measured
``schedule.json``      the schedule, as ``mosaic-onnx schedule --json`` prints it
``models/NNN.mosaic``  each model's bundle
=====================  ====================================================================
"""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.atomic import refuse_to_replace, write_atomically
from mosaic_onnx.files.bundle import Bundle, read_bundle, written_beside
from mosaic_onnx.files.strict_json import FileModel, Name, NonNegative, dump_lines, parse, read
from mosaic_onnx.pipeline.site.bundles import write_model
from mosaic_onnx.pipeline.site.profiled import ProfiledScenario
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.scenario import DropRule, Group, ModelEntry
from mosaic_onnx.scenarios.schedule import Policy
from mosaic_onnx.scenarios.schedule_file import schedule_to_fields
from mosaic_onnx.scenarios.solve import Scheduled

SCHEMA = "mosaic-onnx/site/1"
SITE, SCHEDULE, MODELS = "site.json", "schedule.json", "models"


class _Model(FileModel):
    name: Name
    bundle: Name


class _Group(FileModel):
    name: Name
    period_s: NonNegative
    deadline_s: NonNegative
    jitter_s: NonNegative = 0.0
    weight: NonNegative = 1.0
    allowed_drop_share: NonNegative | None = None
    models: list[_Model] = Field(min_length=1)


class _File(FileModel):
    schema_: Literal["mosaic-onnx/site/1"] = Field(alias="schema")
    drop: DropRule
    policy: Policy
    priority: list[Name]
    period_multiplier: NonNegative
    devices: list[Name]
    simulated: list[Name] = []
    slowdowns: dict[str, dict[str, float]] = {}
    unit_times: dict[str, dict[str, float]] = {}
    groups: list[_Group] = Field(min_length=1)


@dataclass(frozen=True)
class Site:
    """A site on disk.

    Attributes:
        folder: where.
        groups: with the periods of the scenario's file.
        bundles: of every model, by ``group/model``.
        drop: what happens to frames that come too late to begin.
        policy: which slices go first.
        priority: ``group/model``, the most urgent first.
        multiplier: the least period multiplier that the scheduler predicts.
        devices: names, in the order to tell them.
        simulated: those that are not real.
        slowdowns: as measured.
        unit_times: by device, the fields of ``scenarios.unit_times.UnitTimes``, as measured.
    """

    folder: Path
    groups: tuple[Group, ...]
    bundles: Mapping[str, Bundle]
    drop: DropRule
    policy: Policy
    priority: tuple[str, ...]
    multiplier: float
    devices: tuple[str, ...]
    simulated: tuple[str, ...]
    slowdowns: Mapping[str, Mapping[str, float]]
    unit_times: Mapping[str, Mapping[str, float]]


def write_site(
    profiled: ProfiledScenario,
    instance: Instance,
    scheduled: Scheduled,
    folder: Path,
    *,
    force: bool = False,
    more: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Cut, prove and write every model, and the schedule, whole or not at all.

    Args:
        profiled: the scenario, with what was measured.
        instance: its costs.
        scheduled: the schedule.
        folder: of the site.
        force: replace a site that is there.
        more: writes what else belongs into the folder, before it is moved into place.

    Raises:
        UsageError: the folder exists and ``force`` is off, it is not a site, or it cannot be written; what was there
            before is there still.
        OutputsDifferError: a model's slices do not compute what the model computes.
    """
    refuse_to_replace(folder, force=force)
    if folder.exists() and not (folder / SITE).is_file():
        raise UsageError(f"{folder} is not a site, so --force does not replace it", "name another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}", "name a folder that you can write") from error
    with written_beside(folder) as temporary:
        _write_into(profiled, instance, scheduled, temporary)
        more(temporary)


def _write_into(profiled: ProfiledScenario, instance: Instance, scheduled: Scheduled, folder: Path) -> None:
    (folder / MODELS).mkdir()
    for m, proposal in enumerate(scheduled.schedule.proposals):
        write_model(profiled.state(m), proposal, scheduled.scheduler, folder / MODELS / _bundle_name(m))
    write_atomically(folder / SCHEDULE, dump_lines(schedule_to_fields(instance, scheduled)).encode())
    write_atomically(folder / SITE, dump_lines(_site_fields(profiled, instance, scheduled)).encode())


def _bundle_name(model: int) -> str:
    return f"{model:03d}.mosaic"


def _site_fields(profiled: ProfiledScenario, instance: Instance, scheduled: Scheduled) -> dict[str, Any]:
    schedule, devices = scheduled.schedule, profiled.state(0).profile.devices
    number = iter(range(len(instance.models)))
    return {
        "schema": SCHEMA,
        "drop": instance.scenario.drop,
        "policy": schedule.policy,
        "priority": [instance.models[model].name for model in schedule.priority],
        "period_multiplier": scheduled.multiplier,
        "devices": [device.name for device in devices],
        "simulated": [device.name for device in devices if device.simulated],
        "slowdowns": {name: dict(row) for name, row in profiled.slowdowns.items()},
        "unit_times": {name: one.as_fields() for name, one in profiled.unit_times.items()},
        "groups": [
            {
                "name": group.name,
                "period_s": group.period_s,
                "deadline_s": group.deadline_s,
                "jitter_s": group.jitter_s,
                "weight": group.weight,
                "allowed_drop_share": group.allowed_drop_share,
                "models": [
                    {"name": entry.name, "bundle": f"{MODELS}/{_bundle_name(next(number))}"} for entry in group.models
                ],
            }
            for group in instance.groups
        ],
    }


def read_site(folder: str | os.PathLike[str]) -> Site:
    """Read a site; its bundles are checked as any bundle is.

    Raises:
        ModelError: it is missing, damaged, or names a bundle outside its folder.
    """
    root = Path(folder)
    text, what = read(root / SITE)
    file = parse(text, _File, SCHEMA, what)
    groups, bundles = [], {}
    for g, group in enumerate(file.groups):
        entries = []
        for m, model in enumerate(group.models):
            path = (root / model.bundle).resolve()
            if not path.is_relative_to(root.resolve()):
                raise ModelError(f"{what}: groups[{g}].models[{m}].bundle: {model.bundle!r} lies outside the site")
            bundles[f"{group.name}/{model.name}"] = read_bundle(path)
            entries.append(ModelEntry(model.name, path, is_profile=False))
        timing = group.period_s, group.deadline_s, group.jitter_s, group.weight, group.allowed_drop_share
        groups.append(Group(group.name, tuple(entries), *timing))
    if sorted(file.priority) != sorted(bundles):
        raise ModelError(f"{what}: priority: it does not name every model once")
    return Site(
        root,
        tuple(groups),
        bundles,
        file.drop,
        file.policy,
        tuple(file.priority),
        file.period_multiplier,
        tuple(file.devices),
        tuple(file.simulated),
        file.slowdowns,
        file.unit_times,
    )
