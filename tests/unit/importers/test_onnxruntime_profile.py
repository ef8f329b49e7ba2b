"""ONNX Runtime's profiler output becomes a profile."""

import json
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.importers import import_onnxruntime, import_profile

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
branches (float[1,64] x) => (float[1,64] y) {
  [first] a = Relu(x)
  [second] b = Sigmoid(a)
  [third] y = Add(a, b)
}
"""


def event(name: str, start_us: int, duration_us: int, op: str = "Relu", provider: str = "CPU") -> dict[str, object]:
    arguments = {
        "op_name": op,
        "provider": f"{provider}ExecutionProvider",
        "parameter_size": "8",
        "output_size": "256",
        "activation_size": "512",
    }
    return {
        "cat": "Node",
        "pid": 1,
        "tid": 1,
        "ts": start_us,
        "dur": duration_us,
        "ph": "X",
        "name": f"{name}_kernel_time",
        "args": arguments,
    }


def written(folder: Path, value: object, name: str = "run.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(value))
    return path


def test_a_real_profile_gives_every_node_its_time(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "run")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = onnx.parser.parse_model(MODEL).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {"x": np.ones((1, 64), np.float32)})
    profile = import_profile("onnxruntime", session.end_profiling())
    assert [layer.name for layer in profile.layers] == ["first", "second", "third"]
    assert [layer.op_types for layer in profile.layers] == [("Relu",), ("Sigmoid",), ("Add",)]
    assert [device.name for device in profile.devices] == ["cpu"]
    assert profile.tensor_bytes["first:0"] == 256
    assert all(layer.cost["cpu"].seconds < 1 for layer in profile.layers)


def test_the_time_is_the_median_of_the_runs(tmp_path: Path) -> None:
    path = written(tmp_path, [event("a", 0, 90), event("a", 100, 10), event("a", 200, 12)])
    profile = import_onnxruntime(path)
    assert profile.layers[0].cost["cpu"].seconds == pytest.approx(12e-6)
    assert profile.layers[0].parameter_bytes == 8
    assert profile.tensor_bytes["input"] == 512


def test_nodes_inside_a_loop_are_part_of_its_time(tmp_path: Path) -> None:
    events = [event("body", 5, 10), event("body", 20, 10), event("loop", 0, 50, "Loop"), event("after", 60, 5)]
    profile = import_onnxruntime(written(tmp_path, events))
    assert [layer.name for layer in profile.layers] == ["loop", "after"]


def test_copies_between_providers_are_left_out_and_counted(tmp_path: Path) -> None:
    events = [event("a", 0, 5, provider="CUDA"), event("copy", 5, 5, "MemcpyToHost"), event("b", 10, 5)]
    profile = import_onnxruntime(written(tmp_path, events))
    assert [layer.name for layer in profile.layers] == ["a", "b"]
    assert profile.meta["copy_nodes_left_out"] == 1


def test_a_node_runs_only_where_it_was_measured(tmp_path: Path) -> None:
    profile = import_onnxruntime(written(tmp_path, [event("a", 0, 5, provider="CUDA"), event("b", 10, 5)]))
    assert profile.layers[0].cost["cpu"] is None
    assert "not measured" in profile.layers[0].reasons["cpu"]


def test_a_second_run_on_another_provider_adds_its_times(tmp_path: Path) -> None:
    cpu = written(tmp_path, [event("a", 0, 5), event("b", 10, 6)], "cpu.json")
    cuda = written(tmp_path, [event("a", 0, 1, provider="CUDA"), event("b", 10, 7)], "cuda.json")
    profile = import_profile("onnxruntime", cpu, also=[cuda])
    assert [device.name for device in profile.devices] == ["cpu", "cuda"]
    assert profile.layers[0].cost["cuda"].seconds == pytest.approx(1e-6)
    assert profile.layers[1].cost["cpu"].seconds == pytest.approx(6e-6)


def test_runs_of_different_models_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path, [event("a", 0, 5)], "one.json")
    other = written(tmp_path, [event("z", 0, 5)], "other.json")
    with pytest.raises(ModelError, match="same layers"):
        import_onnxruntime(one, also=[other])


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({}, "must be a list"),
        ([], "no node's kernel time"),
        ([1], r"\[0\]: must be an object"),
        ([event("c", 0, 1, "MemcpyToHost")], "copies only"),
        ([{**event("a", 0, 1), "dur": "long"}], "dur: must be a number"),
        ([{**event("a", 0, 1), "args": {"op_name": "Relu"}}], "'provider' is missing"),
    ],
)
def test_a_malformed_profile_is_refused(tmp_path: Path, value: object, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        import_onnxruntime(written(tmp_path, value))


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pipedream"):
        import_profile("tensorboard", tmp_path / "x")


def test_an_unknown_option_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layer_info"):
        import_profile("tensorrt", tmp_path / "x", bandwidth=1)


def test_an_option_that_is_no_number_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device_count must be a number"):
        import_profile("dnn-partitioning", tmp_path / "x", device_count="six")


def test_files_may_be_named_by_their_paths_as_text(tmp_path: Path) -> None:
    cpu = written(tmp_path, [event("a", 0, 5)], "cpu.json")
    cuda = written(tmp_path, [event("a", 0, 1, provider="CUDA")], "cuda.json")
    assert len(import_profile("onnxruntime", str(cpu), also=str(cuda)).devices) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        import_profile("onnxruntime", tmp_path / "absent.json")


def test_a_thread_that_is_no_number_is_read_as_a_name(tmp_path: Path) -> None:
    arguments = {"op_name": "Conv", "provider": "CPUExecutionProvider", "output_size": "64"}
    event = {"cat": "Node", "tid": {"x": 1}, "dur": 5, "ts": 2, "name": "conv_kernel_time", "args": arguments}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps([event]))
    assert [layer.name for layer in import_onnxruntime(path).layers] == ["conv"]
