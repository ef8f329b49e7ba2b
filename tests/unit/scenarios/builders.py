"""Small scenarios for tests."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TensorTransferCost, TransferCost
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.scenarios.instance import Instance, build_instance
from mosaic_onnx.scenarios.scenario import DropRule, Group, ModelEntry, Scenario
from mosaic_onnx.scenarios.schedule import Policy, Schedule
from mosaic_onnx.scenarios.search.genome import genome_of
from mosaic_onnx.scenarios.search.repair import Repair
from tests.unit.planner.random_profiles import random_profile

GOOGLENET = (
    ".35 .15 .20 .11 .12 .13 .15 .19 .12 .20",
    ".75 .34 .45 .37 .31 .33 .31 .35 .27 .36",
    ".05 .07 .06 .01 .05 .02 .06 .03 .02",
    ".08 .10 .09 .07 .11 .01 .09 .04 .02",
)
ALEXNET = (
    ".15 .06 .22 .08 .16 .70 .32 .10",
    ".41 .20 .45 .22 .41 1.91 .68 .13",
    ".03 .11 .08 .03 .09 .08 .07",
    ".07 .14 .10 .05 .16 .12 .09",
)
"""HaX-CoNN's tables (PPoPP 2024), milliseconds: GPU, DLA, transition from the GPU, from the DLA."""


def hax_profile(name: str, rows: Sequence[str]) -> Profile:
    """One of HaX-CoNN's networks on GPU and DLA; copies to and from host are free."""
    gpu, dla, from_gpu, from_dla = ([float(word) / 1e3 for word in row.split()] for row in rows)
    tensors = {f"t{number}": 1 for number in range(len(gpu) + 1)}

    def direct(source: str, destination: str, seconds: Sequence[float]) -> TransferCost:
        own = {f"t{number + 1}": TensorTransferCost(value) for number, value in enumerate(seconds)}
        return TransferCost(source, destination, tensors=own)

    hosts = [TransferCost(*pair) for name in ("gpu", "dla") for pair in (("host", name), (name, "host"))]
    return Profile(
        name,
        (Device("gpu"), Device("dla")),
        tensors,
        ("t0",),
        (f"t{len(gpu)}",),
        tuple(
            ProfileLayer(f"g{n}", (f"t{n}",), (f"t{n + 1}",), {"gpu": Cost(gpu[n]), "dla": Cost(dla[n])})
            for n in range(len(gpu))
        ),
        copies=(*hosts, direct("gpu", "dla", from_gpu), direct("dla", "gpu", from_dla)),
    )


def chain_profile(
    rows: Sequence[Sequence[float | None]],
    *,
    devices: Sequence[Device] = (Device("a"), Device("b")),
    copy_s: float = 0.0,
    occupying: bool = False,
    meta: dict[str, object] | None = None,
) -> Profile:
    """A chain of layers; ``rows`` hold each layer's seconds on each device, None where it cannot run.

    The second device has a memory of its own where copies cost something; a copy either way takes ``copy_s``.
    """
    names = [device.name for device in devices]
    layers = tuple(
        ProfileLayer(
            f"l{n}",
            (f"t{n}",),
            (f"t{n + 1}",),
            {name: None if value is None else Cost(value) for name, value in zip(names, row, strict=True)},
            parameter_bytes=1,
        )
        for n, row in enumerate(rows)
    )
    copies = ()
    if copy_s:
        copies = (
            TransferCost("host", names[1], seconds=copy_s),
            TransferCost(names[1], "host", seconds=copy_s),
        )
    return Profile(
        "chain",
        tuple(devices),
        {f"t{n}": 0 for n in range(len(rows) + 1)},
        ("t0",),
        (f"t{len(rows)}",),
        layers,
        copies=copies,
        copies_occupy_device=occupying,
        meta=meta or {},
    )


def instance_of(
    groups: Sequence[tuple[float, Sequence[Profile]]], *, drop: DropRule = "late", deadlines: Sequence[float] = ()
) -> Instance:
    """An instance from (period, profiles) of each group; the deadline is the period unless given."""
    made = tuple(
        Group(
            f"g{g}",
            tuple(ModelEntry(f"m{m}", Path(f"{g}{m}"), is_profile=True) for m in range(len(profiles))),
            period,
            deadlines[g] if deadlines else period,
        )
        for g, (period, profiles) in enumerate(groups)
    )
    return build_instance(Scenario(made, drop), [profile for _, profiles in groups for profile in profiles])


def whole(instance: Instance, *states: int, policy: Policy = "priority") -> Schedule:
    """Every model one slice, in these states, in the order of the file."""
    proposals = tuple(
        (PlacedSlice(tuple(range(len(model.table.layer_names))), state),)
        for model, state in zip(instance.models, states, strict=True)
    )
    return Schedule(proposals, tuple(range(len(states))), policy)


def random_instance(seed: int, *, chain: bool = False, device_caps: bool = False) -> Instance:
    """Up to four random models in up to three groups on up to four states; all times are whole seconds."""
    draw = random.Random(seed)
    state_count = draw.randint(1, 4)
    sizes = [draw.randint(1, 6) for _ in range(draw.randint(1, 4))]
    profiles = [
        random_profile(seed, chain=chain, layer_count=size, state_count=state_count, device_caps=device_caps)
        for size in sizes
    ]
    profiles = [dataclasses.replace(profile, copies_occupy_device=False) for profile in profiles]
    cuts = sorted(draw.sample(range(1, len(profiles)), draw.randint(0, min(2, len(profiles) - 1))))
    groups = [profiles[a:b] for a, b in zip([0, *cuts], [*cuts, len(profiles)], strict=True)]
    timed = [(float(draw.randint(10, 120)), group) for group in groups]
    deadlines = [float(draw.randint(5, 150)) for _ in timed]
    return instance_of(timed, drop=draw.choice(["late", "never"]), deadlines=deadlines)


def random_schedule(instance: Instance, seed: int, policy: Policy = "priority") -> Schedule | None:
    """A random chromosome's schedule; None where some layer cannot run."""
    genome = genome_of(instance)
    try:
        schedule = Repair(genome)(genome.draw(np.random.default_rng(seed)))
    except InfeasibleError:
        return None
    return dataclasses.replace(schedule, policy=policy)
