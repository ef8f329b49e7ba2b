"""Filling levels in, power over levels, and the error of leaving levels out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.backends.simulated.backend import BACKEND
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.profiling.estimators.levels import fill_levels, leave_levels_out
from mosaic_onnx.profiling.estimators.power import StaticPower, dynamic_power_w, no_static_power, power_w
from mosaic_onnx.reproduce.accuracy import static_power
from mosaic_onnx.reproduce.paper import LEVELS

OPTIONS = {
    "seconds_per_gmac.convkxk": 0.1,
    "seconds_per_weight_mb": 1e-3,
    "dynamic_w": 4.0,
    "static_w": 0.5,
}


def device(**options: float) -> Device:
    return Device("big", backend="simulated", levels=LEVELS["big"], options={**OPTIONS, **options})


def facts(name: str, gmac: float, weight_mb: float) -> LayerFacts:
    count = int(weight_mb * 250_000)
    return LayerFacts(
        name, ("Conv",), {"convkxk": int(gmac * 1e9)}, 4 * count, count, 0, 0, 0, 1, parameter_count=count
    )


LAYERS = [facts("a", 0.1, 3.0), facts("b", 0.05, 20.0), facts("c", 0.2, 12.0)]


def profile(one: Device) -> Profile:
    layers = []
    for index, layer in enumerate(LAYERS):
        costs = {state: BACKEND.layer_cost(layer, one, state) for state in one.states}
        assert all(isinstance(cost, Cost) for cost in costs.values())
        layers.append(ProfileLayer(layer.name, (f"t{index}",), (f"t{index + 1}",), costs))  # type: ignore[arg-type]
    tensors = {f"t{index}": 4 for index in range(len(LAYERS) + 1)}
    return Profile("chain", (one,), tensors, ("t0",), ("t3",), tuple(layers))


def ends_only(full: Profile) -> Profile:
    states = full.devices[0].states
    return replace(
        full,
        layers=tuple(replace(x, cost={s: x.cost[s] for s in (states[0], states[-1])}) for x in full.layers),
    )


def test_from_two_levels_every_level_comes_back_where_the_law_is_the_papers() -> None:
    one = device()
    full = profile(one)
    filled = fill_levels(ends_only(full), {"big": static_power(one)})
    for layer, wanted in zip(filled.layers, full.layers, strict=True):
        for state in one.states:
            found, given = layer.cost[state], wanted.cost[state]
            assert found is not None
            assert given is not None
            assert found.seconds == pytest.approx(given.seconds)
            assert found.joules == pytest.approx(given.joules)
    middle = filled.layers[0].cost[one.states[3]]
    assert middle is not None
    assert middle.source == "modelled"


def test_what_was_measured_is_not_written_over() -> None:
    full = profile(device(overlap=2.0))
    assert fill_levels(full).layers == full.layers


def test_a_layer_without_both_ends_is_left_alone() -> None:
    full = ends_only(profile(device()))
    broken = replace(full.layers[0], cost={full.devices[0].states[0]: full.layers[0].cost[full.devices[0].states[0]]})
    filled = fill_levels(replace(full, layers=(broken, *full.layers[1:])))
    assert filled.layers[0] == broken
    assert len(filled.layers[1].cost) == 9


def test_leaving_levels_out_of_the_papers_law_finds_no_error() -> None:
    one = device()
    (errors,) = leave_levels_out(profile(one), {"big": static_power(one)})
    assert len(errors.seconds) == len(LAYERS) * 7
    assert errors.worst_seconds_error < 1e-9
    assert max(map(abs, errors.joules)) < 1e-9


@pytest.mark.parametrize("overlap", [1.5, 2.0, 4.0])
def test_on_another_law_the_reported_error_is_the_true_one(overlap: float) -> None:
    """t^p = (γ/f)^p + ε^p, the line through both ends worked out by hand."""
    one = device(overlap=overlap)
    (errors,) = leave_levels_out(profile(one), {"big": static_power(one)})
    frequencies = np.array([level.frequency_hz for level in one.levels])
    expected = []
    for layer in LAYERS:
        gamma = 0.1 * layer.macs["convkxk"] / 1e9 * frequencies[-1]
        epsilon = 1e-3 * layer.parameter_bytes / 1e6
        true = ((gamma / frequencies) ** overlap + epsilon**overlap) ** (1 / overlap)
        slope = (true[0] - true[-1]) / (1 / frequencies[0] - 1 / frequencies[-1])
        line = true[-1] + slope * (1 / frequencies - 1 / frequencies[-1])
        expected += list((line / true - 1)[1:-1])
    assert errors.seconds == pytest.approx(expected, abs=1e-9)
    assert errors.mean_seconds_error == pytest.approx(np.mean(np.abs(expected)))
    assert errors.worst_seconds_error > 0.005


def test_levels_that_are_no_frequencies_are_not_estimated() -> None:
    full = profile(device())
    dataflows = tuple(Level(level.name) for level in LEVELS["big"])
    ends = ends_only(replace(full, devices=(replace(full.devices[0], levels=dataflows),)))
    assert fill_levels(ends) == ends


def test_power_is_dynamic_by_volts_squared_times_hertz_plus_static() -> None:
    low, high = LEVELS["big"][0], LEVELS["big"][-1]
    static = StaticPower({low.name: 0.2, high.name: 0.5})
    dynamic = dynamic_power_w(4.5, static.at(high))
    assert dynamic == 4.0
    assert power_w(high, high, dynamic, static) == pytest.approx(4.5)
    assert power_w(low, high, dynamic, static) == pytest.approx(4.0 * (0.7 / 1.1) ** 2 * 682 / 2362 + 0.2)


def test_total_power_below_static_leaves_no_dynamic_power() -> None:
    assert dynamic_power_w(0.1, 0.5) == 0.0


def test_static_power_that_was_not_profiled_is_asked_for_by_name() -> None:
    with pytest.raises(ModelError, match="1018MHz"):
        StaticPower({}).at(LEVELS["big"][1])
    assert no_static_power(device()).at(LEVELS["big"][1]) == 0.0
