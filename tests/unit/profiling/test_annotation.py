from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.graph.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import Cost, TransferCost
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.profiling.annotation import annotate
from mosaic_onnx.profiling.setup import ProfileOptions
from tests.unit.profiling.helpers import normalised
from tests.unit.profiling.test_profile_model import Wrapped

HEAD = '<ir_version: 10, opset_import: ["": 21, "local": 1]>'
CPU, NPU = Device("cpu", backend="onnxruntime"), Device("npu", backend="picky")


class Picky(Wrapped):
    """Takes no Erf."""

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        return "no kernel" if node.op_type == "Erf" else None


class Small(Wrapped):
    """Holds two nodes."""

    def too_large(self, node_count: int, device: Device) -> str | None:
        return f"{node_count} nodes are too many" if node_count > 2 else None


BACKENDS = {"onnxruntime": ORT, "picky": Picky("picky"), "small": Small("small")}


def reasons(text: str, *devices: Device) -> list[dict[str, str]]:
    model = normalised(f"{HEAD} {text}")
    return [dict(one) for one in annotate(model, layerize(model, "node"), devices, BACKENDS).reasons]


def test_claims_are_kept_by_layer_and_device() -> None:
    found = reasons("g (float[4] x) => (float[4] y) { a = Relu(x) [bad] y = Erf(a) }", CPU, NPU)
    assert found == [{}, {"npu": "Erf (bad): no kernel"}]


def test_a_model_that_a_device_cannot_hold_is_refused_layer_by_layer() -> None:
    small = Device("tiny", backend="small")
    assert reasons("g (float[4] x) => (float[4] y) { a = Relu(x) y = Erf(a) }", small) == [{}, {}]
    found = reasons("g (float[4] x) => (float[4] y) { a = Relu(x) b = Neg(a) y = Erf(b) }", CPU, small)
    assert found == [{"tiny": "3 nodes are too many"}] * 3


def test_a_node_inside_a_body_counts() -> None:
    text = """g (bool c, float[4] x) => (float[4] y)
    { [if] y = If (c) <
        then_branch = t () => (float[4] a) { a = Erf(x) },
        else_branch = e () => (float[4] b) { b = Neg(x) }
    > }"""
    assert reasons(text, NPU) == [{"npu": "If (if): no kernel"}]


def test_a_call_of_a_function_is_judged_by_its_body() -> None:
    text = """g (float[4] x) => (float[4] y) { [call] y = local.f(x) }
    <domain: "local", opset_import: ["": 21]> f (a) => (b) { b = Erf(a) }"""
    assert reasons(text, NPU) == [{"npu": "f (call): no kernel"}]


class Described(Picky):
    def layer_costs(self, facts: Sequence[LayerFacts], device: Device, state: str) -> list[Cost | str]:
        return ["too large" if "Erf" in one.op_types else Cost(1.0) for one in facts]

    def copies(self, device: Device) -> tuple[TransferCost, ...]:
        return ()


def test_a_described_device_gives_its_own_reason() -> None:
    model = normalised(f"{HEAD} g (float[4] x) => (float[4] y) {{ y = Erf(x) }}")
    found = annotate(model, layerize(model), [NPU], {"picky": Described("picky")})
    assert found.reasons == ({"npu": "too large"},)


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(BackendError, match="'quantum'"):
        reasons("g (float[4] x) => (float[4] y) { y = Erf(x) }", Device("q", backend="quantum"))


def test_the_model_is_left_untouched() -> None:
    model = normalised(f"{HEAD} g (float[4] x) => (float[4] y) {{ y = Erf(x) }}")
    before = model.model.SerializeToString()
    annotate(model, layerize(model), [CPU, NPU], BACKENDS)
    assert model.model.SerializeToString() == before


def probed(text: str, refuse: Callable[[SliceModel], None], cache: Cache | None = None) -> list[dict[str, str]]:
    model = normalised(f"{HEAD} {text}")
    backends = {"picky": Wrapped("picky", before_load=refuse)}
    found = annotate(model, layerize(model, "node"), [NPU], backends, ProfileOptions(cache=cache))
    assert found.is_probed
    return [dict(one) for one in found.reasons]


CHAIN = "g (float[4] x) => (float[4] z) { a = Neg(x) b = Erf(a) c = Neg(b) z = Erf(c) }"


def no_erf(model: SliceModel) -> None:
    if any(node.op_type == "Erf" for node in model.model.graph.node):
        raise BackendError("slice g on npu: no kernel for Erf")


def test_a_claim_is_checked_by_compiling() -> None:
    reason = {"npu": "does not compile: no kernel for Erf"}
    assert probed(CHAIN, no_erf) == [{}, reason, {}, reason]


def test_what_compiles_whole_is_compiled_once(tmp_path: Path) -> None:
    loads: list[SliceModel] = []
    assert probed(CHAIN, loads.append, Cache(tmp_path)) == [{}, {}, {}, {}]
    assert len(loads) == 1
    probed(CHAIN, loads.append, Cache(tmp_path))
    assert len(loads) == 1


def test_equal_layers_are_compiled_once() -> None:
    loads: list[SliceModel] = []

    def count_and_refuse(model: SliceModel) -> None:
        loads.append(model)
        no_erf(model)

    probed(CHAIN, count_and_refuse)
    assert len(loads) == 3
