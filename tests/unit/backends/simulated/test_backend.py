"""Simulated devices: described costs, real outputs, no faster than described."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper, parser

from mosaic_onnx.backends.base import CostSource, SliceModel
from mosaic_onnx.backends.conformance import suite as conformance
from mosaic_onnx.backends.simulated.backend import BACKEND, slice_seconds
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import Cost
from mosaic_onnx.files.device_file import devices_from_toml, read_shipped

FACTS = LayerFacts(
    name="layer",
    op_types=("Conv", "Relu"),
    macs={"conv1x1": 2 * 10**9, "depthwise3": 10**8},
    parameter_bytes=4_000_000,
    dense_parameter_count=3_000_000,
    input_bytes=1_000_000,
    output_bytes=2_000_000,
    activation_bytes=4_000_000,
    operator_count=2,
    dense_macs={"conv1x1": 2 * 10**9, "depthwise3": 3 * 10**9},
    kernel_count=1,
    buffered_bytes=2_000_000,
    parameter_count=1_000_000,
)
LEVELS = (Level("slow", 1e9, 0.5), Level("fast", 2e9, 1.0))


def device(**options: float | str | bool) -> Device:
    named = {key.replace("__", "."): value for key, value in options.items()}
    return Device("sim", backend="simulated", simulated=True, levels=LEVELS, options=named)


def cost(one: Device, state: str = "sim@fast") -> Cost:
    said = BACKEND.layer_cost(FACTS, one, state)
    assert isinstance(said, Cost)
    return said


def small_slice() -> SliceModel:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> small (float[1, 8] x) => (float[1, 8] y) { y = Relu (x) }'
    )
    return SliceModel(model, None, ("x",), ("y",))


def test_it_is_a_cost_source() -> None:
    assert isinstance(BACKEND, CostSource)


def test_seconds_are_arithmetic_operators_weights_and_activations() -> None:
    one = device(
        seconds_per_gmac__conv1x1=0.1,
        seconds_per_gmac__depthwise3=1.0,
        seconds_per_operator=0.01,
        seconds_per_weight_mb=0.001,
        seconds_per_activation_mb=0.002,
    )
    assert cost(one).seconds == pytest.approx(0.2 + 0.1 + 0.01 + 0.004 + 0.006)
    assert cost(one).source == "simulated"


def test_a_lower_level_slows_what_the_clock_divides_and_nothing_else() -> None:
    one = device(seconds_per_gmac__conv1x1=0.1, seconds_per_weight_mb=0.01)
    assert cost(one).seconds == pytest.approx(0.2 + 0.04)
    assert cost(one, "sim@slow").seconds == pytest.approx(0.4 + 0.04)


def test_the_bent_law_hides_the_shorter_part() -> None:
    one = device(seconds_per_gmac__conv1x1=0.1, seconds_per_weight_mb=0.05, overlap=2.0)
    assert cost(one).seconds == pytest.approx((0.2**2 + 0.2**2) ** 0.5)
    assert cost(one, "sim@slow").seconds == pytest.approx((0.4**2 + 0.2**2) ** 0.5)


def test_energy_is_power_at_the_level_times_seconds() -> None:
    one = device(seconds_per_gmac__conv1x1=0.1, dynamic_w=4.0, static_w=1.0)
    assert cost(one).joules == pytest.approx(0.2 * 5.0)
    assert cost(one, "sim@slow").joules == pytest.approx(0.4 * (4.0 * 0.25 * 0.5 + 0.5))
    assert cost(device(seconds_per_gmac__conv1x1=0.1)).joules is None


def test_a_dense_device_computes_and_stores_depthwise_kernels_dense() -> None:
    one = device(seconds_per_gmac__depthwise3=1.0, dense_depthwise=True, bytes_per_weight=2, buffered_activations=True)
    assert cost(one).seconds == pytest.approx(3.0)
    assert cost(one).parameter_bytes == 6_000_000
    assert cost(one).activation_bytes == 2_000_000
    plain = cost(device())
    assert plain.parameter_bytes == 4_000_000
    assert plain.activation_bytes is None


@pytest.mark.parametrize("options", [{"unsupported": "Pad,Relu"}, {"supported": "Conv"}])
def test_a_missing_operator_is_the_reason_and_is_claimed_so(options: dict[str, str]) -> None:
    one = device(**options)
    assert BACKEND.layer_cost(FACTS, one, "sim@fast") == "the description has no operator Relu"
    assert BACKEND.supports(helper.make_node("Relu", ["x"], ["y"]), one) == "the description has no operator Relu"
    assert BACKEND.supports(helper.make_node("Conv", ["x", "w"], ["y"]), one) is None


def test_noise_is_seeded_and_does_not_depend_on_the_order_of_questions() -> None:
    one = device(seconds_per_gmac__conv1x1=0.1, noise=0.02, seed=3)
    first = cost(one).seconds
    cost(one, "sim@slow")
    assert cost(one).seconds == first != pytest.approx(0.2, rel=1e-6)
    assert cost(replace(one, options={**one.options, "seed": 4})).seconds != first
    many = [BACKEND.layer_cost(replace(FACTS, name=f"layer{index}"), one, "sim@fast") for index in range(400)]
    factors = np.array([each.seconds / 0.2 for each in many if isinstance(each, Cost)])
    assert factors.mean() == pytest.approx(1.0, abs=0.005)
    assert factors.std() == pytest.approx(0.02, rel=0.15)


def test_copies_stand_for_a_memory_of_its_own() -> None:
    assert BACKEND.copies(device()) == ()
    assert BACKEND.memory(device()) is None
    one = device(
        copy_in__seconds_per_byte=1e-9, copy_in__seconds=1e-3, copy_out__seconds=2e-3, copy_w=2.0, dynamic_w=1.0
    )
    inward, outward = BACKEND.copies(one)
    assert (inward.source, inward.destination, inward.seconds, inward.joules_per_byte) == ("host", "sim", 1e-3, 2e-9)
    assert (outward.source, outward.destination, outward.joules) == ("sim", "host", 4e-3)


def test_level_switches_cost_what_is_described_and_nothing_by_default() -> None:
    assert BACKEND.switches(device()) == ()
    there, back = BACKEND.switches(device(switch_seconds=1e-4, switch_joules=1e-5))
    assert (there.source, there.destination, there.seconds, there.joules) == ("slow", "fast", 1e-4, 1e-5)
    assert (back.source, back.destination) == ("fast", "slow")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 1.0}, "option 'speed' is unknown"),
        ({"seconds_per_gmac.conv9x9": 1.0}, "conv9x9"),
        ({"noise": -1.0}, "not a number from 0 on"),
        ({"noise": float("nan")}, "not a number from 0 on"),
        ({"dynamic_w": "4"}, "not a number"),
        ({"seed": 1.5}, "whole number"),
        ({"dense_depthwise": 1}, "not of type bool"),
        ({"overlap": 0.5}, "below 1"),
        ({"copy_in.seconds": 1.0}, "copy_in and copy_out"),
        ({"level": "turbo"}, "'turbo' is unknown"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, float | str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BACKEND.layer_cost(FACTS, Device("sim", levels=LEVELS, options=options), "sim@fast")


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(UsageError, match="sim@fast"):
        BACKEND.layer_cost(FACTS, device(), "sim@turbo")


def test_a_run_gives_real_outputs_no_sooner_than_described() -> None:
    runner = BACKEND.load(small_slice(), device(seconds_per_operator=0.0))
    quick = Device("sim", backend="simulated", slice_seconds=0.05)
    slow = BACKEND.load(small_slice(), quick)
    x = np.linspace(-1, 1, 8, dtype=np.float32)[None]
    started = time.perf_counter()
    made = slow.run({"x": x})["y"]
    assert time.perf_counter() - started >= 0.05
    assert np.array_equal(made, np.maximum(x, 0))
    assert np.array_equal(runner.run({"x": x})["y"], made)
    runner.close()
    slow.close()


def test_time_scale_stretches_runs_and_a_level_slows_them() -> None:
    conv = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> one (float[1, 1000] x, float[1000, 1000] w) => (float[1, 1000] y)'
        "{ y = MatMul (x, w) }"
    )
    one = device(seconds_per_gmac__fc=1.0)
    assert slice_seconds(conv, one) == pytest.approx(1e-3)
    assert slice_seconds(conv, replace(one, options={**one.options, "level": "slow"})) == pytest.approx(2e-3)


def test_bound_calls_wait_too_and_read_their_inputs_then() -> None:
    runner = BACKEND.load(small_slice(), Device("sim", backend="simulated", slice_seconds=0.03))
    x, y = np.zeros((1, 8), np.float32), np.empty((1, 8), np.float32)
    call = runner.bind({"x": x}, {"y": y})
    x[:] = 3.0
    started = time.perf_counter()
    call()
    assert time.perf_counter() - started >= 0.03
    assert (y == 3.0).all()
    runner.close()


def test_copies_wait_as_described() -> None:
    memory = BACKEND.memory(device(copy_in__seconds=0.03, copy_out__seconds=0.02))
    assert memory is not None
    buffer = memory.allocate(np.dtype(np.float32), (4,))
    started = time.perf_counter()
    buffer.upload(np.arange(4, dtype=np.float32))
    uploaded = time.perf_counter()
    back = np.empty(4, np.float32)
    buffer.download(back)
    assert uploaded - started >= 0.03
    assert time.perf_counter() - uploaded >= 0.02
    assert back.tolist() == [0, 1, 2, 3]


def test_no_device_is_found_by_itself_and_shipped_descriptions_are_named() -> None:
    found = BACKEND.find()
    assert found.devices == ()
    assert "hikey970" in {each.name for each in found.absent}


def test_a_description_is_read_from_toml_with_nested_tables() -> None:
    (one,) = devices_from_toml(
        """
        schema = "mosaic-onnx/devices/1"
        [[devices]]
        name = "sim"
        backend = "simulated"
        simulated = true
        [devices.options]
        unsupported = ["Pad", "Relu"]
        [devices.options.seconds_per_gmac]
        conv1x1 = 0.1
        """
    )
    assert BACKEND.layer_cost(FACTS, one, "sim") == "the description has no operator Relu"


def test_the_shipped_hikey970_has_the_papers_25_states_and_limits() -> None:
    big, little, gpu, npu = read_shipped("hikey970")
    assert [len(each.states) for each in (big, little, gpu, npu)] == [9, 7, 8, 1]
    assert all(each.simulated and each.backend == "simulated" for each in (big, little, gpu, npu))
    assert (npu.slice_memory_bytes, npu.activation_memory) == (100_000_000, "sum")
    assert (gpu.io, npu.io, big.io) == ("host", "host", "resident")
    assert gpu.levels[0] == Level("104MHz", 104e6, 0.6)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_it_conforms(check: object) -> None:
    own_memory = device(copy_in__seconds=1e-5, copy_out__seconds=1e-5)
    for one in (device(), own_memory):
        check(BACKEND, one)  # type: ignore[operator]
