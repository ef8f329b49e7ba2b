"""PipeDream's graph.txt becomes a profile."""

from pathlib import Path

import pytest

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.importers import import_pipedream, import_profile

NODE = "node{} -- {} -- forward_compute_time={}, backward_compute_time={}, activation_size={}, parameter_size={}"
NODES = [
    NODE.format(3, "Linear(in=1024, out=4) -- tied", "2.000", "4.000", "[64.0; 32.0]", "400.000"),
    NODE.format(1, "Input0", "0.000", "0.000", "0.0", "0.000"),
    NODE.format(2, "Embedding(32320, 1024, padding_idx=0)", "0.073", "6.949", "6291456.0", "132382720.000"),
]
GRAPH = "\n".join([*NODES, "\tnode1 -- node2", "\tnode2 -- node3", ""])


def written(folder: Path, text: str) -> Path:
    path = folder / "graph.txt"
    path.write_text(text)
    return path


def test_nodes_become_layers_in_topological_order(tmp_path: Path) -> None:
    profile = import_profile("pipedream", written(tmp_path, GRAPH))
    assert [layer.name for layer in profile.layers] == ["node1", "node2", "node3"]
    assert profile.layers[1].cost["gpu0"].seconds == pytest.approx(0.073e-3)
    assert profile.layers[1].parameter_bytes == 132382720
    assert profile.layers[1].op_types == ("Embedding",)
    assert profile.layers[2].inputs == ("node2:0",)
    assert profile.tensor_bytes["node2:0"] == 6291456
    assert profile.outputs == ("node3:0",)


def test_several_outputs_count_together(tmp_path: Path) -> None:
    assert import_pipedream(written(tmp_path, GRAPH)).tensor_bytes["node3:0"] == 96


def test_the_backward_pass_counts_where_asked_for(tmp_path: Path) -> None:
    profile = import_pipedream(written(tmp_path, GRAPH), backward=True)
    assert profile.layers[2].cost["gpu0"].seconds == pytest.approx(6e-3)


def test_a_stage_and_a_separator_in_the_description_are_understood(tmp_path: Path) -> None:
    text = GRAPH.replace("132382720.000", "132382720.000 -- stage_id=0")
    profile = import_pipedream(written(tmp_path, text))
    assert profile.layers[1].parameter_bytes == 132382720
    assert profile.layers[2].meta["description"] == "Linear(in=1024, out=4) -- tied"


def test_several_devices_are_joined_by_the_given_bandwidth(tmp_path: Path) -> None:
    profile = import_pipedream(written(tmp_path, GRAPH), device_count=2, bandwidth_bytes_per_s=1e9)
    assert [device.name for device in profile.devices] == ["gpu0", "gpu1"]
    assert len(profile.copies) == 6
    assert all(copy.seconds_per_byte == pytest.approx(1e-9) for copy in profile.copies)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"device_count": 2}, "how fast"),
        ({"device_count": 0}, "at least one"),
        ({"bandwidth_bytes_per_s": 0.0}, "above 0"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(tmp_path: Path, options: dict[str, float], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        import_pipedream(written(tmp_path, GRAPH), **options)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "holds no node"),
        ("node1\n", "line 1"),
        (GRAPH + "\tnode3 -- node9\n", "line 6: there is no node 'node9'"),
        (GRAPH + "\tnode3\n", "an edge is"),
        (GRAPH + "\tnode3 -- node1\n", "cycle"),
        (GRAPH + NODES[0] + "\n", "twice"),
        (GRAPH.replace("0.073", "fast"), "line 3: forward_compute_time"),
        (GRAPH.replace("0.073", "-1"), "at least 0"),
        (GRAPH.replace("activation_size=6291456.0, ", ""), "'activation_size' is missing"),
    ],
)
def test_a_malformed_graph_is_refused_with_its_line(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        import_pipedream(written(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"is not UTF-8 text .* PipeDream graph file is expected"):
        import_pipedream(path)
