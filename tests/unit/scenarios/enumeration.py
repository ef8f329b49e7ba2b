"""Every schedule of two small chains, and the least period multiplier of any of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations, pairwise, permutations, product

from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.simulation.multiplier import PRECISION, ScheduleEvaluator
from tests.unit.scenarios.builders import chain_profile, instance_of


def small_instance(seed: int, layer_count: int = 4) -> Instance:
    """Two chains on two devices, each faster for some layers, in groups of their own or in one."""
    draw = random.Random(seed)

    def rows() -> list[tuple[float, float]]:
        return [(draw.randint(2, 12) / 1e3, draw.randint(2, 12) / 1e3) for _ in range(layer_count)]

    profiles = [chain_profile(rows(), copy_s=draw.choice([0.0, 0.5e-3, 1e-3])) for _ in range(2)]
    periods = [sum(min(cost.seconds for cost in layer.cost.values() if cost) for layer in p.layers) for p in profiles]
    if draw.random() < 0.5:
        return instance_of([(sum(periods), profiles)])
    return instance_of([(period, [profile]) for period, profile in zip(periods, profiles, strict=True)])


def chain_proposals(layer_count: int, state_count: int) -> Iterator[Proposal]:
    """Every way to cut a chain, in every placement."""
    for count in range(layer_count):
        for cuts in combinations(range(1, layer_count), count):
            bounds = [0, *cuts, layer_count]
            parts = [tuple(range(a, b)) for a, b in pairwise(bounds)]
            for states in product(range(state_count), repeat=len(parts)):
                yield tuple(PlacedSlice(part, state) for part, state in zip(parts, states, strict=True))


def every_schedule(instance: Instance) -> Iterator[Schedule]:
    """Every partition, mapping and priority."""
    ways = [list(chain_proposals(len(m.table.layer_names), len(m.table.state_names))) for m in instance.models]
    for proposals in product(*ways):
        for order in permutations(range(len(ways))):
            yield Schedule(proposals, order)


def least_of_all(instance: Instance, bound: float) -> float:
    """The least period multiplier of any schedule."""
    best = float("inf")
    for schedule in every_schedule(instance):
        evaluator = ScheduleEvaluator(instance, schedule)
        if best == float("inf") or evaluator.satisfies(best / PRECISION**0.5):
            best = min(best, evaluator.least_multiplier(bound))
    return best
