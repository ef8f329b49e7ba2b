"""Refusals of small tables without a plan: the limit, demand or cap that binds, and what would be enough."""

from __future__ import annotations

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError, NoPlanFoundError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve


def chain(*devices: Device, seconds: float = 1.0) -> Profile:
    """Three layers of 100 bytes of parameters, one second each on every device."""
    tensors = {f"t{n}": 0 for n in range(4)}
    cost = {device.name: Cost(seconds, 2.0) for device in devices}
    layers = tuple(ProfileLayer(f"l{n}", (f"t{n}",), (f"t{n + 1}",), cost, parameter_bytes=100) for n in range(3))
    return Profile("chain", devices, tensors, ("t0",), ("t3",), layers)


def test_a_deadline_names_the_fastest_plan() -> None:
    with pytest.raises(InfeasibleError, match=r"deadline of 2000 ms: the fastest takes at least 3000 ms") as caught:
        solve(cost_table(chain(Device("a"))), Request(deadline_s=2.0))
    assert caught.value.hint.endswith("enough on its own: --deadline-ms 3000")


def test_a_budget_names_the_least_joules() -> None:
    with pytest.raises(InfeasibleError, match=r"budget of 5000 mJ: .* at least 6000 mJ") as caught:
        solve(cost_table(chain(Device("a"))), Request(budget_j=5.0))
    assert caught.value.hint.endswith("enough on its own: --energy-mj 6000")


def test_a_cap_names_the_device_and_the_least_that_is_enough() -> None:
    with pytest.raises(InfeasibleError, match="the memory of a") as caught:
        solve(cost_table(chain(Device("a", memory_bytes=250))), Request())
    assert caught.value.hint == "enough on its own: --memory a=300 (50 bytes more)"


def test_a_cap_on_slices_names_the_least_that_is_enough() -> None:
    with pytest.raises(InfeasibleError) as caught:
        solve(cost_table(chain(Device("a", slice_memory_bytes=230))), Request(one_slice_per_device=True))
    assert "--slice-memory a=300 (70 bytes more)" in caught.value.hint


def test_caps_of_a_table_that_is_not_searched_whole_are_named_with_what_is_enough() -> None:
    devices = Device("a", memory_bytes=400), Device("b", memory_bytes=300)
    profile = chain(*devices)
    layers = tuple(
        ProfileLayer(f"l{n}", (f"t{n}",), (f"t{n + 1}",), profile.layers[0].cost, parameter_bytes=100) for n in range(9)
    )
    tensors = {f"t{n}": 0 for n in range(10)}
    table = cost_table(Profile("chain", devices, tensors, ("t0",), ("t9",), layers))
    with pytest.raises(InfeasibleError) as caught:
        solve(table, Request())
    assert "--memory a=600 (200 bytes more)" in caught.value.hint
    assert "--memory b=" in caught.value.hint


def test_a_demand_that_alone_is_in_the_way_is_named() -> None:
    devices = Device("a", slice_memory_bytes=200), Device("b", slice_memory_bytes=50)
    with pytest.raises(InfeasibleError, match="one slice a device") as caught:
        solve(cost_table(chain(*devices)), Request(one_slice_per_device=True))
    assert "leaving out --one-slice-per-device" in caught.value.hint


def test_an_error_budget_names_the_least_error() -> None:
    profile = chain(Device("a"))
    layers = tuple(
        ProfileLayer(one.name, one.inputs, one.outputs, {"a": Cost(1.0, error=0.1)}) for one in profile.layers
    )
    table = cost_table(Profile("chain", profile.devices, profile.tensor_bytes, ("t0",), ("t3",), layers))
    with pytest.raises(InfeasibleError, match=r"error budget of 0\.2") as caught:
        solve(table, Request(max_error=0.2))
    assert "--max-error 0.3000" in caught.value.hint


def test_a_search_that_ends_without_plan_or_proof_says_so() -> None:
    """The named method looks at one plan only, which the deadline rules out."""
    with pytest.raises(NoPlanFoundError, match="no plan was found") as caught:
        solve(cost_table(chain(Device("a"))), Request(method="preferred:a", deadline_s=2.0))
    assert caught.value.exit_code == 6
    assert "not proved" in caught.value.hint
