from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import (
    Array,
    Backend,
    FoundDevices,
    LevelControl,
    LevelOffer,
    Memory,
    Runner,
    SliceModel,
)
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.core.graph.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import Cost, Profile, TransferCost
from mosaic_onnx.core.progress import Step
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.device_profiler import ProfilingEffort
from mosaic_onnx.profiling.measure_slices import measure_segments
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.profile_model import ProfileOptions, ProfilingInterrupted, profile_model
from tests.unit.profiling import fake_backends
from tests.unit.profiling.helpers import normalised_model

QUICK = ProfilingEffort(layer=TimeBudget(0.001, 2, 5), slice=TimeBudget(0.005, 2, 5), alone_s=0.2)
CPU = Device("cpu", backend="onnxruntime", options={"threads": 1})


def net() -> Normalised:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
    net (float[1,3,16,16] x) => (float[1,3,12,12] z)
    { a = Conv(x, w) b = Relu(a) c = Conv(b, v) d = Sigmoid(c) z = Erf(d) }""")
    for name, seed in (("w", 1), ("v", 2)):
        values = np.random.default_rng(seed).standard_normal((3, 3, 3, 3)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return normalised_model(model)


NET = net()
GRAPH = layerize(NET)


def measure(
    *devices: Device, backends: Mapping[str, Backend] | None = None, cache: Cache | None = None, **options: object
) -> Profile:
    given = ProfileOptions(effort=QUICK, cache=cache, versions={"onnxruntime": "1"}, limit_s=30.0, **options)  # type: ignore[arg-type]
    return profile_model(NET, GRAPH, devices, {"onnxruntime": ORT, **(backends or {})}, given)


@dataclass(frozen=True)
class Wrapped:
    """ONNX Runtime's CPU under another name, with something of its own."""

    name: str = "wrapped"
    before_load: Callable[[SliceModel], None] = lambda model: None

    def find(self) -> FoundDevices:
        return FoundDevices((Device(self.name, backend=self.name),))

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        self.before_load(model)
        return ORT.load(model, CPU)

    def memory(self, device: Device) -> Memory | None:
        return None


def operators(model: SliceModel) -> set[str]:
    return {node.op_type for node in model.model.graph.node}


def test_every_layer_gets_a_cost_and_the_whole_model_a_segment() -> None:
    profile = measure(CPU)
    assert all(
        (cost := layer.cost["cpu"]) and cost.seconds >= 0 and cost.source == "measured" for layer in profile.layers
    )
    assert (0, len(GRAPH.layers) - 1) in {(one.first, one.last) for one in profile.segments}
    assert profile.layers[0].nodes == GRAPH.layers[0].nodes
    assert profile.copies == ()


def test_the_layers_add_up_to_the_whole_model() -> None:
    profile = measure(CPU)
    total = sum(cost.seconds for layer in profile.layers if (cost := layer.cost["cpu"]))
    [whole] = [one.seconds for one in profile.segments if one.last - one.first + 1 == len(GRAPH.layers)]
    assert 0 < total < whole <= (total + profile.devices[0].slice_seconds) * 1.001


def test_the_model_is_left_untouched() -> None:
    before = NET.model.SerializeToString()
    measure(CPU)
    assert NET.model.SerializeToString() == before


def test_the_profile_can_be_written_and_read() -> None:
    profile = measure(CPU, model_name="net", model_sha256="0" * 64)
    back = profile_from_json(profile_to_json(profile))
    assert back.model_name == "net"
    assert back.model_sha256 == "0" * 64
    assert back.meta["versions"] == {"onnxruntime": "1"}


def test_a_warm_profile_loads_nothing_and_says_the_same(tmp_path: Path) -> None:
    loads: list[SliceModel] = []
    backends = {"wrapped": Wrapped(before_load=loads.append)}
    device = Device("npu", backend="wrapped")
    cold = measure(device, backends=backends, cache=Cache(tmp_path))
    assert loads
    loads.clear()
    assert measure(device, backends=backends, cache=Cache(tmp_path)) == cold
    assert loads == []


def test_without_a_cache_everything_is_measured_again() -> None:
    loads: list[SliceModel] = []
    backends = {"wrapped": Wrapped(before_load=loads.append)}
    for _ in range(2):
        loads.clear()
        measure(Device("npu", backend="wrapped"), backends=backends)
        assert loads


@pytest.mark.parametrize(
    "device",
    [
        Device("npu", backend="wrapped", options={"threads": 2}),
        Device("npu", backend="wrapped", precision="f16"),
    ],
)
def test_other_options_and_precisions_are_other_measurements(tmp_path: Path, device: Device) -> None:
    loads: list[SliceModel] = []
    backends = {"wrapped": Wrapped(before_load=loads.append)}
    measure(Device("npu", backend="wrapped"), backends=backends, cache=Cache(tmp_path))
    loads.clear()
    measure(device, backends=backends, cache=Cache(tmp_path))
    assert loads


def test_equal_devices_of_other_names_share_measurements(tmp_path: Path) -> None:
    loads: list[SliceModel] = []
    backends = {"wrapped": Wrapped(before_load=loads.append)}
    measure(Device("one", backend="wrapped"), backends=backends, cache=Cache(tmp_path))
    loads.clear()
    measure(Device("two", backend="wrapped"), backends=backends, cache=Cache(tmp_path))
    assert loads == []


def test_a_corrupt_cache_entry_is_measured_again_and_said(tmp_path: Path) -> None:
    measure(CPU, cache=Cache(tmp_path))
    for entry in tmp_path.glob("measurements/*/*.json"):
        entry.write_text("{")
    profile = measure(CPU, cache=Cache(tmp_path))
    assert "corrupt" in str(profile.meta["notes"])


def no_erf(model: SliceModel) -> None:
    if "Erf" in operators(model):
        raise BackendError(f"slice {model.model.graph.name} on npu: no kernel for Erf")


def test_what_does_not_compile_is_a_reason_and_the_rest_is_measured() -> None:
    profile = measure(Device("npu", backend="wrapped"), backends={"wrapped": Wrapped(before_load=no_erf)})
    [refused] = [layer for layer in profile.layers if layer.cost["npu"] is None]
    assert "Erf" in refused.op_types
    assert refused.reasons == {"npu": "does not compile: no kernel for Erf"}


def test_a_provider_that_crashes_leaves_reasons_and_this_process_alive() -> None:
    crashing = fake_backends.CRASHING
    profile = measure(CPU, Device("npu", backend="crashing"), backends={"crashing": crashing})
    assert all(layer.cost["npu"] is None and layer.cost["cpu"] for layer in profile.layers)
    assert "SIGSEGV" in profile.layers[0].reasons["npu"]


def test_a_wrong_option_is_the_users_to_mend_not_the_layers_fault() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        measure(Device("cpu", backend="onnxruntime", options={"nonsense": 1}))


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(BackendError, match="'quantum'"):
        measure(Device("q", backend="quantum"))


def test_an_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    count = 0

    def interrupt_late(model: SliceModel) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(ProfilingInterrupted) as caught:
        measure(
            Device("npu", backend="wrapped"),
            CPU,
            backends={"wrapped": Wrapped(before_load=interrupt_late)},
            cache=Cache(tmp_path),
        )
    partial = caught.value.profile
    assert [layer.cost["npu"] is not None for layer in partial.layers].count(True) == 1
    assert "not measured: interrupted" in {layer.reasons.get("npu") for layer in partial.layers}
    assert all(layer.reasons["cpu"] == "not measured: interrupted" for layer in partial.layers)
    assert Cache(tmp_path).usage().entry_count == 2


def test_progress_ends_with_all_done() -> None:
    told: list[Step] = []
    options = ProfileOptions(effort=QUICK)
    profile_model(NET, GRAPH, [CPU], {"onnxruntime": ORT}, options, told.append)
    assert told[-1].done_count == told[-1].total_count > 0


@dataclass(frozen=True)
class Described(Wrapped):
    """A backend that states its costs."""

    name: str = "described"

    def layer_costs(self, facts: Sequence[LayerFacts], device: Device, state: str) -> list[Cost | str]:
        return ["no Erf" if "Erf" in one.op_types else Cost(0.5, 0.25, source="simulated") for one in facts]

    def copies(self, device: Device) -> tuple[TransferCost, ...]:
        return TransferCost("host", device.name, 1e-9), TransferCost(device.name, "host", 1e-9)


def test_described_devices_are_asked_not_measured() -> None:
    def never(model: SliceModel) -> None:
        raise AssertionError("a described device was loaded")

    device = Device("sim", backend="described", simulated=True, levels=(Level("lo", 1e9), Level("hi", 2e9)))
    profile = measure(device, backends={"described": Described(before_load=never)})
    assert profile.layers[0].cost["sim@hi"] == Cost(0.5, 0.25, source="simulated")
    assert profile.layers[-1].reasons == {"sim@lo": "no Erf", "sim@hi": "no Erf"}
    assert [(copy.source, copy.destination) for copy in profile.copies] == [("host", "sim"), ("sim", "host")]
    assert profile.segments == ()


def test_levels_that_nobody_can_set_are_left_out_and_that_is_said() -> None:
    profile = measure(Device("cpu", backend="onnxruntime", levels=(Level("lo", 1e9), Level("hi", 2e9))))
    assert profile.states == ("cpu",)
    assert "levels are left out" in str(profile.meta["notes"])


@dataclass(frozen=True)
class Levelled(Wrapped):
    """A backend that sets levels, and remembers which."""

    held: list[str] = field(default_factory=list)

    def offered_levels(self, device: Device) -> LevelOffer:
        return LevelOffer(device.levels)

    def level_control(self, device: Device) -> LevelControl:
        return RecordedControl(self.held)


@dataclass(frozen=True)
class RecordedControl:
    held: list[str]

    def set_level(self, level: Level) -> None:
        self.held.append(level.name)

    def read_hz(self) -> float | None:
        return None

    def close(self) -> None:
        self.held.append("governor")


def test_the_lowest_and_the_highest_level_are_measured_and_those_between_estimated() -> None:
    backend = Levelled()
    levels = (Level("lo", 1e9), Level("mid", 1.5e9), Level("hi", 2e9))
    profile = measure(Device("npu", backend="wrapped", levels=levels), backends={"wrapped": backend})
    assert backend.held[:4] == ["lo", "governor", "hi", "governor"]
    changes = {(switch.source, switch.destination) for switch in profile.switches}
    assert changes == set(permutations(["lo", "mid", "hi"], 2))
    sources = [profile.layers[0].cost[state].source for state in profile.states]  # type: ignore[union-attr]
    assert sources == ["measured", "modelled", "measured"]


@dataclass(frozen=True)
class Remote(Wrapped):
    """A device with its own memory, whose slices cannot be bound in place."""

    def memory(self, device: Device) -> Memory | None:
        return fake_backends.RecordedMemory()


def test_a_device_with_its_own_memory_gets_copies_both_ways() -> None:
    profile = measure(CPU, Device("gpu", backend="wrapped"), backends={"wrapped": Remote()})
    assert {(copy.source, copy.destination) for copy in profile.copies} == {("host", "gpu"), ("gpu", "host")}
    assert all(layer.cost["gpu"] for layer in profile.layers)


@dataclass(frozen=True)
class Unreachable(Wrapped):
    """A device whose memory cannot be allocated."""

    def memory(self, device: Device) -> Memory | None:
        raise BackendError("out of memory")


def test_a_device_whose_memory_cannot_be_reached_runs_nothing() -> None:
    profile = measure(CPU, Device("gpu", backend="wrapped"), backends={"wrapped": Unreachable()})
    assert all(layer.cost["gpu"] is None and layer.cost["cpu"] for layer in profile.layers)
    assert "out of memory" in profile.layers[0].reasons["gpu"]


def whole(options: ProfileOptions, *choices: tuple[int, int, str]) -> list[tuple[int, int, str]]:
    found = measure_segments(NET, GRAPH, choices, [CPU], {"onnxruntime": ORT}, options)
    assert all(segment.seconds > 0 for segment in found.segments)
    return [(segment.first, segment.last, segment.state) for segment in found.segments]


def test_chosen_slices_are_measured_whole_and_kept(tmp_path: Path) -> None:
    options = ProfileOptions(effort=QUICK, cache=Cache(tmp_path))
    assert whole(options, (0, 1, "cpu"), (1, 1, "cpu"), (0, 1, "cpu")) == [(0, 1, "cpu"), (1, 1, "cpu")]
    assert Cache(tmp_path).usage().entry_count == 2
    whole(options, (0, 1, "cpu"))
    assert Cache(tmp_path).usage().entry_count == 2


def test_a_chosen_slice_that_cannot_run_has_its_reason() -> None:
    last = len(GRAPH.layers) - 1
    found = measure_segments(
        NET, GRAPH, [(0, last, "npu")], [Device("npu", backend="wrapped")], {"wrapped": Wrapped(before_load=no_erf)}
    )
    assert found.segments == ()
    assert found.reasons == {(0, last, "npu"): "does not compile: no kernel for Erf"}


@pytest.mark.parametrize("choice", [(0, 99, "cpu"), (1, 0, "cpu"), (0, 0, "gpu")])
def test_a_slice_or_state_that_is_not_there_is_named(choice: tuple[int, int, str]) -> None:
    with pytest.raises(UsageError):
        whole(ProfileOptions(effort=QUICK), choice)


def test_given_inputs_are_what_layers_are_measured_on() -> None:
    seen: list[Array] = []

    @dataclass(frozen=True)
    class Watching(Wrapped):
        def load(self, model: SliceModel, device: Device) -> Runner:
            runner = ORT.load(model, CPU)
            if model.inputs == ("x",):
                run = runner.run
                runner.run = lambda inputs: (seen.append(inputs["x"]), run(inputs))[1]  # type: ignore[method-assign]
            return runner

    x = np.full((1, 3, 16, 16), 7.0, np.float32)
    measure(Device("npu", backend="wrapped"), backends={"wrapped": Watching()}, inputs={"x": x})
    assert any(np.array_equal(one, x) for one in seen)
