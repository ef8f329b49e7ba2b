"""Any chromosome becomes a schedule that can run, and a schedule's own chromosome gives it back."""

from __future__ import annotations

import numpy as np
import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.search.genome import Genome, genome_of
from mosaic_onnx.scenarios.search.moves import Moves
from mosaic_onnx.scenarios.search.repair import Repair
from mosaic_onnx.scenarios.simulation.frame_work import slice_graphs
from tests.unit.planner.random_profiles import random_profile
from tests.unit.scenarios.builders import chain_profile, instance_of, random_instance


def wild(genome: Genome, rng: np.random.Generator) -> np.ndarray:
    """A chromosome without any structure."""
    return np.concatenate(
        [
            rng.integers(0, 2, genome.cut_count),
            rng.integers(0, len(genome.instance.table.device_names), genome.layer_count),
            rng.permutation(len(genome.graphs)),
        ]
    )


def branching_instance(seed: int) -> Instance:
    """Two random graphs with caps on slices and groups of layers, every layer of which can run somewhere."""
    profiles = [
        random_profile(seed, chain=False, layer_count=9, state_count=3, device_caps=False, groups=seed % 2 == 0)
        for _ in range(2)
    ]
    return instance_of([(50.0, profiles)])


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_chromosomes_give_schedules_that_can_run(count: int) -> None:
    tried = seed = 0
    while tried < count:
        seed += 1
        instance = branching_instance(seed)
        genome, rng = genome_of(instance), np.random.default_rng(seed)
        repair = Repair(genome)
        try:
            repair(np.concatenate([np.ones(genome.cut_count), np.zeros(genome.layer_count), [0, 1]]).astype(np.int64))
        except InfeasibleError:  # some layer or group can run nowhere, even alone
            continue
        for number in range(100):
            schedule = repair(wild(genome, rng) if number % 2 else genome.draw(rng))
            slice_graphs(instance, schedule)  # raises where slices cannot run
        tried += 100


def test_memory_that_holds_all_models_in_one_way_only_is_kept() -> None:
    devices = (Device("a", memory_bytes=3), Device("b", memory_bytes=3))
    instance = instance_of([(1.0, [chain_profile([(1, 1)] * 3, devices=devices)] * 2)])
    genome, rng = genome_of(instance), np.random.default_rng(0)
    one = Repair(genome)(np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1]))
    repair = Repair(genome, fallback=one)
    for _ in range(300):
        slice_graphs(instance, repair(wild(genome, rng)))


def test_memory_that_holds_nothing_is_an_error_that_names_the_device() -> None:
    devices = (Device("a", memory_bytes=1), Device("b", memory_bytes=1))
    instance = instance_of([(1.0, [chain_profile([(1, 1)] * 3, devices=devices)])])
    genome = genome_of(instance)
    with pytest.raises(InfeasibleError, match="memory"):
        Repair(genome)(genome.draw(np.random.default_rng(0)))


def test_a_schedule_of_chains_survives_being_encoded() -> None:
    for seed in range(60):
        instance = random_instance(seed, chain=True)
        genome, rng = genome_of(instance), np.random.default_rng(seed)
        repair = Repair(genome)
        try:
            schedule = repair(genome.draw(rng))
        except InfeasibleError:
            continue
        again = repair(genome.encode(schedule))
        assert [{p.layers for p in one} for one in again.proposals] == [
            {p.layers for p in one} for one in schedule.proposals
        ]


def test_local_moves_keep_slices_able_to_run() -> None:
    moved = 0
    for seed in range(40):
        instance = branching_instance(seed)
        genome, rng = genome_of(instance), np.random.default_rng(seed)
        repair = Repair(genome)
        try:
            schedule = repair(genome.draw(rng))
        except InfeasibleError:
            continue
        for neighbour in Moves(repair).neighbours(schedule, 40, rng):
            slice_graphs(instance, neighbour)
            moved += 1
    assert moved > 300


def test_moves_reach_every_schedule_of_a_small_scenario() -> None:
    instance = instance_of([(1.0, [chain_profile([(1, 1)] * 3)])])
    genome, rng = genome_of(instance), np.random.default_rng(0)
    repair = Repair(genome)
    moves, seen = Moves(repair), {repair(genome.draw(rng))}
    for _ in range(60):
        for schedule in list(seen):
            seen.update(moves.neighbours(schedule, 4, rng))
    # 1, 2, 2 and 3 slices, each on either of two devices: 2 + 4 + 4 + 8
    assert len({schedule.proposals for schedule in seen}) == 18


def test_a_layer_that_no_device_runs_is_named() -> None:
    instance = instance_of([(1.0, [chain_profile([(1, 1), (None, None)])])])
    genome = genome_of(instance)
    with pytest.raises(InfeasibleError, match="layer l1 of g0/m0"):
        Repair(genome)(genome.draw(np.random.default_rng(0)))
