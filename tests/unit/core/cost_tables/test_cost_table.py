"""The cost table: every array says of the profile what the format says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, SwitchCost, TensorTransferCost, TransferCost
from tests.unit.files.test_profile_file import tiny

INF = float("inf")


def test_what_a_state_cannot_run_costs_infinity() -> None:
    table = cost_table(tiny())
    assert table.state_names == ("cpu@600MHz", "cpu@1800MHz", "npu")
    assert table.layer_s.tolist() == [[0.009, 0.003, 0.0005], [0.004, 0.0015, INF]]
    assert table.layer_j is not None
    assert table.layer_j.tolist() == [[0.004, 0.006, 0.0007], [0.002, 0.003, INF]]


def test_a_device_that_is_not_allowed_costs_infinity() -> None:
    layers = (replace(tiny().layers[0], allowed=("npu",)), tiny().layers[1])
    assert cost_table(replace(tiny(), layers=layers)).layer_s[0].tolist() == [INF, INF, 0.0005]
    nowhere = (replace(tiny().layers[0], allowed=()), tiny().layers[1])
    assert cost_table(replace(tiny(), layers=nowhere)).layer_s[0].tolist() == [INF, INF, INF]


def test_a_profile_without_joules_has_none() -> None:
    layers = tuple(replace(layer, cost={"npu": Cost(1.0)}) for layer in tiny().layers)
    assert cost_table(replace(tiny(), layers=layers)).layer_j is None


def test_bytes_are_the_layers_unless_a_cost_says_otherwise() -> None:
    cost = {
        "cpu@600MHz": Cost(1.0, 1.0),
        "npu": Cost(1.0, 1.0, parameter_bytes=7, workspace_bytes=8, activation_bytes=0),
    }
    layers = (replace(tiny().layers[0], cost=cost, workspace_bytes=5), tiny().layers[1])
    table = cost_table(replace(tiny(), layers=layers))
    assert table.parameter_bytes[0].tolist() == [9408, 9408, 7]
    assert table.workspace_bytes[0].tolist() == [5, 5, 8]
    assert table.activation_bytes[0].tolist() == [401408, 401408, 0]


def test_only_devices_that_a_copy_names_have_their_own_memory() -> None:
    table = cost_table(tiny())
    assert table.own_memory.tolist() == [False, True]
    assert not table.to_host_s[:, :2].any()
    assert table.from_host_s[:, 2].tolist() == pytest.approx([0.0007, 2e-5 + 401408e-9, 2e-5 + 4000e-9])


def test_a_tensors_own_cost_replaces_what_it_gives_and_keeps_the_line_elsewhere() -> None:
    copies = (
        TransferCost(
            "host",
            "npu",
            1e-9,
            2e-5,
            1e-9,
            5e-5,
            {"a": TensorTransferCost(seconds=1.0), "y": TensorTransferCost(joules=2.0)},
        ),
        tiny().copies[1],
    )
    table = cost_table(replace(tiny(), copies=copies))
    assert table.from_host_s[:, 2].tolist() == pytest.approx([2e-5 + 602112e-9, 1.0, 2e-5 + 4000e-9])
    assert table.from_host_j[:, 2].tolist() == pytest.approx([5e-5 + 602112e-9, 5e-5 + 401408e-9, 2.0])


def test_direct_entries_count_between_resident_devices_only() -> None:
    devices = (Device("a", levels=(Level("l"), Level("h"))), Device("b"), Device("c", io="host"))
    ends = [TransferCost(*pair) for d in "abc" for pair in (("host", d), (d, "host"))]
    direct = [
        TransferCost("a@l", "b", seconds=1.0),
        TransferCost("a", "c", seconds=2.0),
        TransferCost("b", "a", seconds=3.0),
    ]
    profile = replace(tiny(), devices=devices, layers=(), outputs=(), copies=(*ends, *direct), switches=(), segments=())
    table = cost_table(profile)
    assert {pair: costs[0] for pair, costs in table.direct_s.items()} == {(0, 2): 1.0, (2, 0): 3.0, (2, 1): 3.0}


def test_switches_segments_caps_and_groups_keep_their_places() -> None:
    layers = tuple(replace(layer, group=group) for layer, group in zip(tiny().layers, ("g", ""), strict=True))
    table = cost_table(replace(tiny(), layers=layers, switches=(SwitchCost("cpu", "600MHz", "1800MHz", 1e-4, 0.5),)))
    assert table.switch_s.tolist() == [[0.0, 1e-4, 0.0], [0.0] * 3, [0.0] * 3]
    assert table.switch_j[0, 1] == 0.5
    assert table.segments == {(0, 0, 2): (0.00045, 0.0006)}
    assert table.slice_memory_bytes.tolist() == [INF, 1e8]
    assert table.memory_bytes.tolist() == [INF, INF]
    assert table.group.tolist() == [0, -1]
    assert table.io_host.tolist() == [False, True]
    assert table.activation_sum.tolist() == [False, True]


def test_tensors_know_their_maker_and_their_readers_once_each() -> None:
    layers = (tiny().layers[0], replace(tiny().layers[1], inputs=("a", "x", "a")))
    table = cost_table(replace(tiny(), layers=layers))
    assert table.layer_inputs == ((0,), (1, 0))
    assert table.producer.tolist() == [-1, 0, 1]
    assert table.consumers == ((0, 1), (1,), ())
    assert table.is_output.tolist() == [False, False, True]


def test_the_pass_leaves_its_input_untouched_and_gives_the_same_again() -> None:
    profile = tiny()
    first, second = cost_table(profile), cost_table(profile)
    assert profile == tiny()
    for name, one in vars(first).items():
        other = getattr(second, name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_a_profile_without_layers_gives_empty_arrays() -> None:
    table = cost_table(replace(tiny(), layers=(), outputs=(), segments=()))
    assert table.layer_s.shape == (0, 3)
    assert table.parameter_bytes.shape == (0, 3)
