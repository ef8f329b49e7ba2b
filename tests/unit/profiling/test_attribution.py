from __future__ import annotations

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import KernelTime
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.backends.onnxruntime.kernels import Event, kernels_of, workspaces
from mosaic_onnx.backends.openvino.kernels import quiet_seconds
from mosaic_onnx.core.devices import Device
from mosaic_onnx.profiling.attribution import KernelShare, layer_shares, tag_nodes, value_layers
from tests.unit.backends.helpers import slice_of

MADE_BY = {"r1": 0, "r1_extra": 1, "a/b:0": 2}


def seconds(*kernels: tuple[str, float]) -> dict[int, float]:
    shares = layer_shares([KernelTime(name, each_s) for name, each_s in kernels], MADE_BY)
    return {layer: share.seconds for layer, share in shares.items() if share.rides_with is None}


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mosaicL7N3", 7),
        ("mosaicL7N3_nchwc", 7),
        ("_inlfunc_mosaicL7N3_Relu", 7),
        ("mosaicL7N3/MatMulAddFusion", 7),
        ("mosaicL8N4,mosaicL7N3", 7),
        ("r1", 0),
        ("r1_nchwc", 0),
        ("r1_extra_nchwc", 1),
        ("a/b:0_token_4", 2),
    ],
)
def test_a_kernels_name_tells_its_layer(name: str, layer: int) -> None:
    assert seconds((name, 1.0)) == {layer: 1.0}


def test_layers_named_by_anothers_kernel_ride_with_it() -> None:
    shares = layer_shares([KernelTime("mosaicL0N0,mosaicL1N1,mosaicL3N5", 1.0), KernelTime("mosaicL3N6", 2.0)], {})
    assert shares == {0: KernelShare(1.0), 1: KernelShare(rides_with=0), 3: KernelShare(2.0)}


def test_an_inserted_kernel_counts_for_the_one_after_it() -> None:
    assert seconds(("ReorderInput", 0.5), ("r1", 1.0), ("r1_extra", 2.0)) == {0: 1.5, 1: 2.0}


def test_an_inserted_kernel_at_the_end_counts_for_the_one_before_it() -> None:
    assert seconds(("r1", 1.0), ("ReorderOutput", 0.5)) == {0: 1.5}


def test_kernels_of_one_layer_add_up() -> None:
    assert seconds(("r1", 1.0), ("r1", 0.25)) == {0: 1.25}


def test_nothing_known_gives_nothing() -> None:
    assert seconds(("Mystery", 1.0)) == {}


def test_a_prefix_that_ends_inside_a_word_is_no_match() -> None:
    assert seconds(("r12", 1.0)) == {}


def test_tags_name_the_layer_of_every_node() -> None:
    model = slice_of(
        "<ir_version: 10, opset_import: ['': 21]> g (float[2] x) => (float[2] z) {y = Neg(x) z = Abs(y)}".replace(
            "'", '"'
        )
    ).model
    tag_nodes(model, [4, 5])
    assert [node.name for node in model.graph.node] == ["mosaicL4N0", "mosaicL5N1"]
    assert value_layers(model, [4, 5]) == {"y": 4, "z": 5}


def events(*rows: tuple[str, int, int]) -> list[Event]:
    return [Event(name, name, start, duration) for name, start, duration in rows]


def test_the_least_of_the_runs_counts() -> None:
    kernels = kernels_of(events(("a", 0, 9), ("b", 9, 4), ("a", 20, 5), ("b", 25, 6)))
    assert [kernel.name for kernel in kernels] == ["a", "b"]
    assert [kernel.seconds for kernel in kernels] == pytest.approx([5e-6, 4e-6])


def test_kernels_inside_a_loops_kernel_are_part_of_it() -> None:
    kernels = kernels_of(events(("body", 1, 3), ("body2", 4, 6), ("loop", 0, 10), ("after", 10, 2)))
    assert [kernel.name for kernel in kernels] == ["loop", "after"]


def test_two_kernels_of_one_name_are_two() -> None:
    kernels = kernels_of([Event("Reorder", "1", 0, 5), Event("Reorder", "2", 5, 7)])
    assert [kernel.seconds for kernel in kernels] == pytest.approx([5e-6, 7e-6])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_fused_kernels_find_their_layers(backend: str) -> None:
    module = pytest.importorskip(f"mosaic_onnx.backends.{backend}.backend")
    pytest.importorskip(backend)
    text = """<ir_version: 10, opset_import: ["": 21]>
    net (float[1,3,16,16] x, float[8,3,3,3] w) => (float[1,8,14,14] z)
    { c = Conv(x, w) r = Relu(c) z = Sigmoid(r) }"""
    model = slice_of(text)
    layers = [0, 0, 1]
    made_by = value_layers(model.model, layers)
    tag_nodes(model.model, layers)
    weights = onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    model.model.graph.initializer.append(weights)
    del model.model.graph.input[1]
    kernels = module.BACKEND.kernel_times(model, Device("cpu"), {"x": np.ones((1, 3, 16, 16), np.float32)}, 0.01)
    assert kernels
    assert 0 in layer_shares(kernels, made_by)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_slice_whose_kernels_were_recorded_runs_on_as_any_other(backend: str) -> None:
    module = pytest.importorskip(f"mosaic_onnx.backends.{backend}.backend")
    pytest.importorskip(backend)
    model = slice_of('<ir_version: 10, opset_import: ["": 21]> g (float[4,4] x) => (float[4,4] y) { y = MatMul(x, x) }')
    inputs = {"x": np.eye(4, dtype=np.float32) * 2}
    runner = module.BACKEND.load_recording(model, Device("cpu"))
    try:
        assert runner.kernels(inputs, 0.0)
        np.testing.assert_array_equal(runner.run(inputs)["y"], np.eye(4, dtype=np.float32) * 4)
    finally:
        runner.close()
        runner.close()


def test_a_layers_workspace_is_that_of_its_hungriest_kernel() -> None:
    kernels = [KernelTime("r1", 1.0, 100), KernelTime("ReorderInput", 1.0, 300), KernelTime("r1", 1.0, 200)]
    assert layer_shares(kernels, MADE_BY) == {0: KernelShare(3.0, 300)}


def test_workspaces_are_read_from_onnx_runtimes_statistics() -> None:
    lines = [
        "#name,input_sizes,initializers_sizes,total_dynamic_sizes,total_temp_allocations",
        "r57_nchwc_14812943313457764945,66560,0,0,0",
        "fused, conv_77,66560,0,0,4096",
        "broken",
    ]
    assert workspaces(lines) == {"fused, conv": 4096}


def test_a_kernel_of_onnx_runtime_tells_its_scratch_memory() -> None:
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 21]> g (float[1,3,32,32] x, float[5,3,5,5] w) => (float[1,5,28,28] y)'
        " { [conv] y = Conv(x, w) }"
    )
    inputs = {"x": np.ones((1, 3, 32, 32), np.float32), "w": np.ones((5, 3, 5, 5), np.float32)}
    [kernel] = ORT.kernel_times(model, Device("cpu"), inputs, 0.0)
    assert kernel.name == "conv"
    assert kernel.workspace_bytes > 0  # parts of the image, unrolled for a matrix product


def running_means(*runs: float) -> list[dict[str, float]]:
    """Return OpenVINO's figures after each run: the means so far."""
    return [{"conv": sum(runs[: count + 1]) / (count + 1)} for count in range(len(runs))]


def test_openvinos_means_are_undone_over_the_quietest_spell() -> None:
    runs = [9.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0]
    assert quiet_seconds(runs, running_means(*runs))["conv"] == pytest.approx(1.0)


def test_openvinos_first_run_is_left_out() -> None:
    runs = [0.5, 3.0, 2.0, 2.0]
    assert quiet_seconds(runs, running_means(*runs))["conv"] == pytest.approx(2.0)


def test_small_kernels_of_openvino_keep_their_mean() -> None:
    runs = [2e-6, 1e-6, 3e-6]
    assert quiet_seconds(runs, running_means(*runs))["conv"] == pytest.approx(2e-6)


def test_a_kernel_whose_mean_rounds_to_nothing_after_some_runs_is_still_timed() -> None:
    walls = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    means = [{"conv": 1.0, "reorder": 1e-6}] + [{"conv": 1.0}] * 4 + [{"conv": 1.0, "reorder": 1e-6}]
    assert quiet_seconds(walls, means)["reorder"] == pytest.approx(1e-6)
