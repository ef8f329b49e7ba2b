"""The calibration: its arithmetic is the simulator's, its files are its own, it hits what it aims at."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import Floats
from mosaic_onnx.files.device_file import devices_from_toml, read_shipped
from mosaic_onnx.planner.baselines.algorithm1 import algorithm1
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.reproduce import paper, priors
from mosaic_onnx.reproduce.calibrate import Calibration, calibrate, state_watts
from mosaic_onnx.reproduce.calibration_files import description_text, read_seeds, seeds_text
from mosaic_onnx.reproduce.chain import least_total, reductions, total_of
from mosaic_onnx.reproduce.features import features, latency_costs
from mosaic_onnx.reproduce.rates import devices, powers_from_vector, rates_from_vector, to_vector
from mosaic_onnx.reproduce.workloads import described_profile, highest_only, layered, rule_bytes
from mosaic_onnx.zoo import WORKLOADS

NAMES = ("inception_v4", "mnasnet_1.3", "mobilenet_v2_1.4", "resnet_v2_152", "vgg16", "squeezenet")


def shortest(slices: Floats) -> tuple[float, tuple[tuple[int, int, int], ...]]:
    """Equation 9: the least total, and its slices as (first, last, state).

    Args:
        slices: [L, L, S] costs of Equation 8.
    """
    layer_count = len(slices)
    cheapest = slices.min(axis=2)
    total = np.zeros(layer_count + 1)
    cut = np.zeros(layer_count + 1, dtype=np.int64)
    for end in range(1, layer_count + 1):
        candidates = total[:end] + cheapest[:end, end - 1]
        cut[end] = candidates.argmin()
        total[end] = candidates[cut[end]]
    plan: list[tuple[int, int, int]] = []
    end = layer_count
    while end:
        first = int(cut[end])
        plan.append((first, end - 1, int(slices[first, end - 1].argmin())))
        end = first
    return float(total[-1]), tuple(reversed(plan))


@cache
def fitted() -> Calibration:
    return calibrate(0)


@pytest.mark.parametrize("name", NAMES)
def test_the_arrays_of_the_calibration_say_what_the_simulator_says(name: str) -> None:
    rates = read_seeds()[0].rates
    table = cost_table(described_profile(layered(name), highest_only(devices(rates, priors.POWERS))))
    one = features(name)
    slices = latency_costs(one, rates).slices()
    value, plan = shortest(slices)
    assert value == pytest.approx(least_total(slices))
    proposal = tuple(PlacedSlice(tuple(range(first, last + 1)), state) for first, last, state in plan)
    assert simulate(table, proposal).seconds == pytest.approx(value, rel=1e-3)  # rates in devices are rounded
    assert solve(table, Request(method="interval")).timeline.seconds == pytest.approx(value, rel=1e-3)
    literal = simulate(table, algorithm1(table, Request()).proposals[0]).seconds
    assert literal == pytest.approx(value, rel=1e-3)
    for device in paper.DEVICES:
        order = ",".join(dict.fromkeys((device, *paper.FALLBACK)))
        seconds = solve(table, Request(method=f"preferred:{order}")).timeline.seconds
        assert seconds == pytest.approx(total_of(slices, one.preferred[device]), rel=1e-3)


def test_the_arrays_fit_with_any_rates() -> None:
    stream = np.random.default_rng(2)
    for _ in range(5):
        rates = rates_from_vector(to_vector(priors.RATES) + stream.normal(0, 1, len(to_vector(priors.RATES))))
        table = cost_table(described_profile(layered("mobilenet_v2_1.3"), highest_only(devices(rates, priors.POWERS))))
        ours = least_total(latency_costs(features("mobilenet_v2_1.3"), rates).slices())
        assert solve(table, Request(method="interval")).timeline.seconds == pytest.approx(ours, rel=1e-3)


def test_watts_of_all_states_are_those_that_the_devices_state() -> None:
    powers = priors.POWERS
    profile = described_profile(layered("squeezenet"), devices(priors.RATES, powers))
    costs = profile.layers[3].cost
    watts = [cost.joules / cost.seconds for cost in costs.values() if cost and cost.joules]
    assert watts == pytest.approx(state_watts(powers), rel=1e-3)


def test_vectors_and_rates_are_inverse() -> None:
    assert to_vector(rates_from_vector(to_vector(priors.RATES))) == pytest.approx(to_vector(priors.RATES))
    assert to_vector(powers_from_vector(to_vector(priors.POWERS))) == pytest.approx(to_vector(priors.POWERS))


def test_reductions_are_geometric_means() -> None:
    ours, theirs = np.array([1.0, 2.0]), np.array([[2.0], [16.0]])
    assert reductions(ours, theirs) == pytest.approx([75.0])


def test_the_shipped_description_is_what_the_calibration_gives() -> None:
    """Up to what other processors make of the last digits."""
    anew = devices_from_toml(description_text(fitted()))
    shipped = read_shipped("hikey970")
    for fresh, stored in zip(anew, shipped, strict=True):
        assert fresh.options.keys() == stored.options.keys()
        for key, value in stored.options.items():
            if isinstance(value, float):
                assert fresh.options[key] == pytest.approx(value, rel=0.02), f"{stored.name}: {key}"
            else:
                assert fresh.options[key] == value
        assert replace(fresh, options={}) == replace(stored, options={})


def test_the_shipped_seeds_begin_with_the_description() -> None:
    seeds = read_seeds()
    assert [one.seed for one in seeds] == list(range(8))
    for made, stored in zip(devices(seeds[0].rates, seeds[0].powers), read_shipped("hikey970"), strict=True):
        for key, value in stored.options.items():
            assert made.options[key] == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value), key


def test_seeds_are_written_and_read_alike() -> None:
    assert seeds_text(read_seeds()) == seeds_text([*read_seeds()])
    assert '"seed": 0' in seeds_text(read_seeds()[:1])


def test_another_seed_is_another_description_that_hits_the_same_figures() -> None:
    assert read_seeds()[1].rates != read_seeds()[0].rates


def test_the_hundred_megabyte_rule_gives_model_sizes_near_table_i() -> None:
    """An inference, not a law: it is within 5.5 % for half of the models only."""
    errors = [abs(rule_bytes(name) / row.model_bytes - 1) for name, row in WORKLOADS.items()]
    assert max(errors) < 0.23
    assert sum(error < 0.055 for error in errors) == 5


def test_the_rule_leaves_inception_one_place_to_cut_and_resnet_four() -> None:
    legal = features("inception_v4").fits[:, :, 3]
    assert [cut + 1 for cut in range(1, 19) if legal[0, cut - 1] and legal[cut, 18]] == [11]
    legal = features("resnet_v2_152").fits[:, :, 3]
    assert [cut + 1 for cut in range(13, 47) if legal[12, cut - 1] and legal[cut, 46]] == [29, 30, 31, 32]
    assert features("vgg16").fits[0, 12, 3]


def test_without_the_rule_the_npu_holds_everything_that_it_supports() -> None:
    npu = devices(priors.RATES, priors.POWERS, memory_rule=False)[3]
    assert npu.slice_memory_bytes is None
    table = cost_table(described_profile(layered("inception_v4"), highest_only((npu,))))
    assert len(solve(table, Request(method="interval")).proposal) == 1
