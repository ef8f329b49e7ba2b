"""Random scenarios by seed. The paper's networks and scenarios are not readable: these are defined here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.reproduce.workloads import described_profile, layered
from mosaic_onnx.scenarios.baselines.whole import best_single_device
from mosaic_onnx.scenarios.instance import Instance, build_instance
from mosaic_onnx.scenarios.scenario import Group, ModelEntry, Scenario

NETWORKS = (
    "inception_v4",
    "mnasnet_0.5",
    "mnasnet_1.0",
    "mnasnet_1.3",
    "mobilenet_v2_1.0",
    "mobilenet_v2_1.4",
    "resnet_v2_152",
    "squeezenet",
    "vgg16",
)
"""Nine networks of the zoo, at the granularity of MOSAIC's layers."""
ACCELERATOR = "npu"
_FEWEST, _MOST = 1, 3
"""Models of a group."""
_GROUPS = 2
_PERIOD_FACTORS = (1.0, 1.5, 2.0)


@dataclass(frozen=True)
class RandomScenario:
    """One scenario.

    Attributes:
        number: from 0 on.
        instance: with costs.
    """

    number: int
    instance: Instance

    @property
    def words(self) -> str:
        """Return its groups and periods in words."""
        groups = (
            f"{' + '.join(entry.name for entry in group.models)} every {group.period_s * 1e3:.0f} ms"
            for group in self.instance.groups
        )
        return "; ".join(groups)


def profiles_of(devices: Sequence[Device]) -> dict[str, Profile]:
    """Return every network's profile on described devices."""
    return {name: described_profile(layered(name), devices) for name in NETWORKS}


def random_scenario(profiles: Mapping[str, Profile], number: int, seed: int) -> RandomScenario:
    """Draw a scenario: two groups of one to three different networks.

    A group's base period is the sum of its models' latencies on their best single device; its period is that times
    1, 1.5 or 2, and its deadline the period.

    Args:
        profiles: of the networks, by name.
        number: which of the scenarios of this seed.
        seed: of all draws.
    """
    rng = np.random.default_rng((seed, number))
    groups, chosen = [], []
    for g in range(_GROUPS):
        names = rng.choice(sorted(profiles), size=int(rng.integers(_FEWEST, _MOST + 1)), replace=False).tolist()
        base_s = sum(best_single_device(cost_table(profiles[name]))[1] for name in names)
        period_s = base_s * float(rng.choice(_PERIOD_FACTORS))
        entries = tuple(ModelEntry(name, Path(name), is_profile=True) for name in names)
        groups.append(Group(f"group{g}", entries, period_s, period_s))
        chosen += [profiles[name] for name in names]
    accelerator = ACCELERATOR if ACCELERATOR in [device.name for device in chosen[0].devices] else None
    return RandomScenario(number, build_instance(Scenario(tuple(groups), accelerator=accelerator), chosen))
