"""TensorRT's exported profiles become profiles."""

import json
from pathlib import Path

import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.importers import import_profile, import_tensorrt

PROFILE = [
    {"count": 625},
    {"name": "conv1 + relu1", "timeMs": 41.4, "averageMs": 0.066, "medianMs": 0.065, "percentage": 40.0},
    {"name": "left", "timeMs": 10.0, "averageMs": 0.016, "percentage": 10.0},
    {"name": "right", "timeMs": 6.25, "percentage": 10.0},
    {"name": "add", "timeMs": 0.0, "averageMs": 0.0, "percentage": 0.0},
]


INT8 = "Thirty-two wide channel vectorized row major Int8 format"


def tensor(name: str) -> dict[str, object]:
    kind = "Row major linear FP32" if name == "x" else INT8
    return {"Name": name, "Location": "Device", "Dimensions": [1, 4, 8, 8], "Format/Datatype": kind}


def layer(name: str, inputs: list[str], outputs: list[str]) -> dict[str, object]:
    return {
        "Name": name,
        "LayerType": "CaskConvolution",
        "Inputs": [tensor(one) for one in inputs],
        "Outputs": [tensor(one) for one in outputs],
    }


LAYERS = {
    "Layers": [
        layer("conv1 + relu1", ["x"], ["a"]),
        layer("left", ["a"], ["b"]),
        layer("right", ["a"], ["b"]),
        layer("add", ["b"], ["y"]),
    ],
    "Bindings": ["x", "y"],
}


def written(folder: Path, value: object, name: str = "profile.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(value))
    return path


def test_without_layer_information_the_layers_form_a_chain_and_it_says_so(tmp_path: Path) -> None:
    profile = import_profile("tensorrt", written(tmp_path, PROFILE))
    assert [one.name for one in profile.layers] == ["conv1 + relu1", "left", "right", "add"]
    assert profile.layers[2].inputs == ("left:0",)
    assert "chain assumed" in str(profile.meta["dataflow"])
    assert [device.name for device in profile.devices] == ["tensorrt"]


def test_the_median_is_used_else_the_average_else_the_total_over_the_count(tmp_path: Path) -> None:
    layers = import_tensorrt(written(tmp_path, PROFILE), device="gpu").layers
    assert layers[0].cost["gpu"].seconds == pytest.approx(0.065e-3)
    assert layers[1].cost["gpu"].seconds == pytest.approx(0.016e-3)
    assert layers[2].cost["gpu"].seconds == pytest.approx(6.25e-3 / 625)


def test_a_fused_layer_names_the_nodes_in_it(tmp_path: Path) -> None:
    assert import_tensorrt(written(tmp_path, PROFILE)).layers[0].nodes == ("conv1", "relu1")


def test_layer_information_gives_the_graph_and_the_bytes(tmp_path: Path) -> None:
    profile = import_tensorrt(written(tmp_path, PROFILE), layer_info=written(tmp_path, LAYERS, "layers.json"))
    assert profile.inputs == ("x",)
    assert profile.outputs == ("y",)
    assert profile.tensor_bytes["a"] == 256
    assert profile.tensor_bytes["x"] == 1024
    assert profile.layers[1].inputs == profile.layers[2].inputs == ("a",)
    assert profile.layers[0].op_types == ("CaskConvolution",)
    assert "dataflow" not in profile.meta


def test_a_tensor_that_two_layers_write_in_parts_is_read_as_both_parts(tmp_path: Path) -> None:
    profile = import_tensorrt(written(tmp_path, PROFILE), layer_info=written(tmp_path, LAYERS, "layers.json"))
    assert profile.layers[3].inputs == (*profile.layers[1].outputs, *profile.layers[2].outputs)
    assert len(set(profile.layers[3].inputs)) == 2
    assert sum(profile.tensor_bytes[part] for part in profile.layers[3].inputs) == 256


def test_layers_of_one_name_stay_apart(tmp_path: Path) -> None:
    profile = import_tensorrt(written(tmp_path, [PROFILE[0], PROFILE[1], PROFILE[1]]))
    assert [one.name for one in profile.layers] == ["conv1 + relu1", "conv1 + relu1#2"]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"name": "x"}, "must be a list"),
        ([{"count": 5}], "holds no layer"),
        ([{"name": "x"}], "'timeMs' is missing"),
        ([{"name": "x", "averageMs": -1}], "at least 0"),
        ([{"name": {}, "averageMs": 1}], "must be a name"),
    ],
)
def test_a_malformed_profile_is_refused(tmp_path: Path, value: object, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        import_tensorrt(written(tmp_path, value))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"Layers": ["conv1 + relu1", "left"]}, "layer names only"),
        ({"Layers": LAYERS["Layers"][:2]}, "does not name layer 'right'"),
        ({}, "'Layers' is missing"),
        ({"Layers": [{"Name": "x", "Inputs": "y"}]}, "must be a list"),
    ],
)
def test_layer_information_that_does_not_fit_is_refused(tmp_path: Path, value: object, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        import_tensorrt(written(tmp_path, PROFILE), layer_info=written(tmp_path, value, "layers.json"))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(PROFILE)[:-5])
    with pytest.raises(ModelError, match="is not JSON"):
        import_tensorrt(path)
