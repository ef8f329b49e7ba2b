"""The NPU as a device: costs in each dataflow, refusals, rounded outputs, plans over dataflows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import Backend, CostSource, DescribesDevices, SliceModel, SwitchCostSource
from mosaic_onnx.backends.conformance import suite as conformance
from mosaic_onnx.backends.option_model import why_refused
from mosaic_onnx.backends.simulated.backend import BACKEND as SIMULATED
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, ModelError, UsageError
from mosaic_onnx.core.graph.layer_facts import layer_facts
from mosaic_onnx.core.profiles import Cost, Profile
from mosaic_onnx.discovery.registry import Inventory, backends, select_devices
from mosaic_onnx.files.device_file import devices_from_toml, devices_to_toml
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.npu.backend.backend import BACKEND
from mosaic_onnx.npu.backend.options import option_rules
from mosaic_onnx.npu.hardware.file import load_hardware, preset_text
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.dataflow import best_dataflow
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.profiling.profile_model import profile_model
from tests.unit.backends.helpers import slice_of
from tests.unit.small_models import normalised

HERE = Inventory(describers={"npu": BACKEND})
CHAIN = """
    chain (float[1, 3, 16, 16] x) => (float[1, 10] y)
    <float[8, 3, 3, 3] w1, float[16, 8, 1, 1] w2, float[16, 1, 3, 3] w3, float[10, 16] w4> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w1)
      b = Relu (a)
      c = Conv (b, w2)
      d = Conv <group = 16, pads = [1, 1, 1, 1], strides = [2, 2]> (c, w3)
      e = GlobalAveragePool (d)
      f = Flatten (e)
      y = Gemm <transB = 1> (f, w4)
    }"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOSAIC_CACHE_DIR", str(tmp_path / "cache"))


def npu(name: str) -> Device:
    (device,) = select_devices([f"npu:{name}"], HERE)
    return device


def with_weights(text: str) -> onnx.ModelProto:
    """A model of a text whose inner values with a shape are seeded weights."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    draw = np.random.default_rng(0)
    for info in list(model.graph.value_info):
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        values = draw.normal(scale=0.3, size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, info.name))
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def profile_of(model: onnx.ModelProto, folder: Path, devices: Sequence[Device]) -> Profile:
    ready = normalised(model, folder)
    known: dict[str, Backend] = {"npu": BACKEND, "simulated": SIMULATED}
    return profile_model(ready, layerize(ready), devices, known)


def product_slice() -> SliceModel:
    model = with_weights("product (float[2, 8] x) => (float[2, 4] y) <float[8, 4] w> { y = MatMul (x, w) }")
    return SliceModel(model, None, ("x",), ("y",))


@pytest.mark.parametrize("name", ["eyeriss", "kirin970", "nvdla-full"])
def test_an_npu_conforms_to_the_contract(name: str) -> None:
    conformance.check_backend(BACKEND, npu(name))


def test_the_backend_is_installed_and_states_costs_switches_and_descriptions() -> None:
    assert backends()["npu"] is BACKEND
    assert isinstance(BACKEND, CostSource)
    assert isinstance(BACKEND, SwitchCostSource)
    assert isinstance(BACKEND, DescribesDevices)


def test_a_description_becomes_a_simulated_device_whose_levels_are_its_dataflows() -> None:
    device = npu("eyeriss")
    assert (device.name, device.simulated, device.precision) == ("npu:eyeriss", True, "int16")
    assert device.states[0] == "npu:eyeriss@nvdla"
    assert [level.name for level in device.levels] == ["nvdla", "eyeriss", "shidiannao", "os", "ws", "is", "best"]
    assert [level.name for level in npu("kirin970").levels] == ["nvdla", "ws", "best"]  # it unrolls channels only


def test_a_device_survives_its_file() -> None:
    assert devices_from_toml(devices_to_toml([npu("eyeriss")])) == (npu("eyeriss"),)


def test_an_own_description_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(preset_text("eyeriss").replace('name = "eyeriss"', 'name = "mine"'))
    assert npu(str(path)).name == "npu:mine"
    path.write_text("clock_hz = 1")
    with pytest.raises(ModelError, match=r"mine\.toml"):
        npu(str(path))


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(UsageError, match="no NPU is called 'nothing'"):
        npu("nothing")
    with pytest.raises(UsageError, match="no device"):
        select_devices(["hikey970:tpu"], HERE)
    assert [each.name for each in select_devices(["hikey970:gpu", "hikey970:big"], HERE)] == ["gpu", "big"]


def test_wrong_options_are_refused_by_name() -> None:
    device = npu("eyeriss")
    for options, words in (
        ({"hardware": "eyeriss", "colour": 1}, "'colour' is unknown"),
        ({}, "names no NPU"),
        ({"hardware": "eyeriss", "objective": "speed"}, "objective = 'speed'"),
        ({"hardware": "eyeriss", "time_scale": -1.0}, "time_scale = -1.0"),
    ):
        with pytest.raises(UsageError, match=words):
            BACKEND.copies(replace(device, options=options))


def test_a_bundle_may_name_presets_and_no_paths() -> None:
    assert why_refused("hardware", "eyeriss", option_rules()) is None
    assert why_refused("hardware", "/etc/passwd", option_rules())
    assert why_refused("hardware", "own.toml", option_rules())


def test_a_layer_costs_what_the_exact_search_says_in_each_dataflow(tmp_path: Path) -> None:
    profile = profile_of(with_weights(CHAIN), tmp_path, [npu("eyeriss")])
    hardware = load_hardware("eyeriss")
    nest = LoopNest("conv", "conv", 1, 8, 3, 16, 16, 3, 3, 16, 16, padding=(1, 1))
    for dataflow in ("nvdla", "eyeriss", "best"):
        found = profile.layers[0].cost[f"npu:eyeriss@{dataflow}"]
        assert found is not None
        expected = best_dataflow(nest, hardware, dataflow=dataflow).cost
        own = hardware.reconfiguration_s if dataflow == "best" else 0.0
        assert found.seconds == pytest.approx(expected.cycles / hardware.clock_hz + own)
        assert found.joules == pytest.approx(expected.joules)
        assert found.source == "simulated"


def test_switching_to_a_fixed_dataflow_costs_the_reconfiguration() -> None:
    switches = BACKEND.switches(npu("eyeriss"))
    assert {each.seconds for each in switches} == {1e-4}
    assert "best" not in {each.destination for each in switches}
    assert BACKEND.switches(npu("kirin970")) == ()


def test_layers_that_the_hardware_cannot_run_are_refused_with_the_reason(tmp_path: Path) -> None:
    text = """
        odd (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] z, int64[1, 4, 8, 8] i) {
          p = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}> ()
          y = Pad (x, p)
          z = MaxPool <kernel_shape = [3, 3]> (y)
          i = Cast <to = 7> (z)
          r = Det (x)
        }"""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    ready = normalised(model, tmp_path)
    facts = layer_facts(layerize(ready), ready.model)
    said = dict(zip((one.op_types[-1] for one in facts), _said(facts, "kirin970"), strict=True))
    assert "explicit padding is not supported" in str(said["Pad"])
    assert "no form on the array" in str(said["Det"])
    assert isinstance(said["MaxPool"], Cost)


def _said(facts: Sequence[object], name: str) -> list[Cost | str]:
    device = npu(name)
    return BACKEND.layer_costs(facts, device, device.states[-1])  # type: ignore[arg-type]


def test_a_slice_that_it_cannot_run_is_not_loaded() -> None:
    model = slice_of('<ir_version: 10, opset_import: ["": 21]> det (float[3,3] x) => (float y) { y = Det(x) }')
    with pytest.raises(BackendError, match="no form on the array"):
        BACKEND.load(model, npu("eyeriss"))


def test_whole_numbers_are_computed_by_hand_alike() -> None:
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    made = _run(product_slice(), "nvdla-full", x)
    weights = onnx.numpy_helper.to_array(product_slice().model.graph.initializer[0])
    step = np.abs(weights).max(axis=0) / 127
    exact = _rounded(x, -1, 1) @ (np.rint(weights / step).clip(-128, 127) * step).astype(np.float32)
    plain = x @ weights
    low, high = min(0.0, plain.min()), max(0.0, plain.max())
    np.testing.assert_allclose(made, _rounded(exact, low, high), atol=(high - low) / 255 * 0.51)
    assert not np.allclose(made, plain, atol=1e-6)


def _rounded(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scale = np.float32((high - low) / 255)
    zero = np.rint(-128 - low / scale)
    return ((np.rint(values / scale) + zero).clip(-128, 127) - zero) * scale


def test_half_precision_rounds_inputs_weights_and_outputs() -> None:
    x = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)
    weights = onnx.numpy_helper.to_array(product_slice().model.graph.initializer[0])
    half: Callable[[np.ndarray], np.ndarray] = lambda values: values.astype(np.float16).astype(np.float32)  # noqa: E731
    np.testing.assert_allclose(_run(product_slice(), "kirin970", x), half(half(x) @ half(weights)), rtol=1e-3)


def test_what_fuses_is_rounded_once_and_inputs_beyond_the_sample_widen_the_ranges() -> None:
    model = with_weights("f (float[1, 4] x) => (float[1, 4] y) <float[4, 4] w> { a = MatMul (x, w) y = Relu (a) }")
    runner = BACKEND.load(SliceModel(model, None, ("x",), ("y",)), npu("nvdla-full"))
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    for scale in (1.0, 100.0, 1.0):
        x = np.full((1, 4), scale, np.float32)
        expected = np.maximum(x @ weights, 0)
        np.testing.assert_allclose(runner.run({"x": x})["y"], expected, atol=100 * np.abs(weights).sum() / 127)
        if scale == 100.0:
            np.testing.assert_allclose(runner.run({"x": x})["y"], expected, rtol=0.03, atol=1.0)
    runner.close()


def _run(model: SliceModel, name: str, x: np.ndarray) -> np.ndarray:
    runner = BACKEND.load(model, npu(name))
    try:
        return np.asarray(runner.run({"x": x})["y"])
    finally:
        runner.close()


def random_chain(seed: int) -> onnx.ModelProto:
    """Four convolutions of different shapes, some depthwise."""
    draw = np.random.default_rng(seed)
    channels, lines, weights = 4, [], []
    for number in range(4):
        source, made = ("x" if number == 0 else f"v{number - 1}"), ("y" if number == 3 else f"v{number}")
        taps, depthwise = int(draw.choice([1, 3])), bool(draw.integers(2))
        outputs = channels if depthwise else int(draw.choice([4, 12, 24]))
        weights.append(f"float[{outputs}, {1 if depthwise else channels}, {taps}, {taps}] w{number}")
        pad, groups = taps // 2, channels if depthwise else 1
        lines.append(f"{made} = Conv <pads = [{pad}, {pad}, {pad}, {pad}], group = {groups}> ({source}, w{number})")
        channels = outputs
    body = "\n".join(lines)
    return with_weights(
        f"chain (float[1, 4, 8, 8] x) => (float[1, {channels}, 8, 8] y) <{', '.join(weights)}> {{ {body} }}"
    )


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_a_plan_over_dataflows_is_never_worse_than_with_any_one(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    text = preset_text("eyeriss").replace("rows = 12", "rows = 4").replace("columns = 14", "columns = 4")
    path.write_text(text.replace("reconfiguration_s = 1e-4", f"reconfiguration_s = {10.0 ** (seed - 8)}"))
    board = select_devices(["hikey970:big"], HERE)
    cpu = tuple(replace(each, levels=each.levels[-1:]) for each in board)
    device, ready = npu(str(path)), normalised(random_chain(seed), tmp_path)
    graph, known = layerize(ready), {"npu": BACKEND, "simulated": SIMULATED}
    every = plan_profile(profile_model(ready, graph, [*cpu, device], known)).predicted.seconds
    for level in device.levels:
        one = profile_model(ready, graph, [*cpu, replace(device, levels=(level,))], known)
        assert every <= plan_profile(one).predicted.seconds * (1 + 1e-9), level.name
