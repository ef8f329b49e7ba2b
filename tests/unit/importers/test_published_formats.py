"""Piper's workloads, PipeEdge's scheduler files and HOPE's phone tables: small examples of each form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.importers import import_profile
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.planner.core.simulate import simulate

PIPER = {
    "maxDevices": 2,
    "maxMemoryPerDevice": 1000.0,
    "bandwidth": 10.0,
    "nodes": [
        {
            "id": number,
            "name": f"n{number}",
            "TMPCs": {
                "1": [
                    {"id": way, "timePerSample": seconds + number, "memoryUsageA": 100.0, "memoryUsageB": 50.0}
                    for way, seconds in (("vanilla", 1.0), ("activation recomp", 5.0))
                ]
            },
        }
        for number in (1, 0, 2)
    ],
    "edges": [
        {"sourceId": 0, "destId": 1, "communicationCost": 20.0},
        {"sourceId": 0, "destId": 2, "communicationCost": 40.0},
        {"sourceId": 1, "destId": 2, "communicationCost": 20.0},
    ],
}


def piper(tmp_path: Path, **changes: object) -> Path:
    file = tmp_path / "work.json"
    file.write_text(json.dumps(PIPER | changes))
    return file


def test_pipers_nodes_become_layers_in_topological_order(tmp_path: Path) -> None:
    profile = import_profile("piper", piper(tmp_path))
    assert [layer.name for layer in profile.layers] == ["node0", "node1", "node2"]
    assert profile.layers[2].inputs == ("node0:1", "node1:0")
    assert profile.tensor_bytes == {"node0:0": 20, "node0:1": 40, "node1:0": 20, "node2:0": 0}
    assert [device.memory_bytes for device in profile.devices] == [1000, 1000]
    assert [layer.parameter_bytes for layer in profile.layers] == [150] * 3
    table = cost_table(profile)
    split = simulate(table, (PlacedSlice((0,), 0), PlacedSlice((1, 2), 1)))
    assert split.seconds == pytest.approx(1 + 2 + 4 + 2 + 3)


def test_pipers_options_choose_the_way_the_memory_and_the_unit(tmp_path: Path) -> None:
    profile = import_profile(
        "piper", piper(tmp_path), device_count=3, way="activation recomp", in_flight=4, time_unit_s=1e-3
    )
    cost = profile.layers[0].cost["gpu2"]
    assert cost is not None
    assert cost.seconds == pytest.approx(5e-3)
    assert profile.layers[0].parameter_bytes == 450


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"bandwidth": 0}, {}, "must be above 0"),
        (
            {"edges": [{"sourceId": 0, "destId": 9, "communicationCost": 1}]},
            {},
            r"edges\[0\].destId: there is no node 9",
        ),
        ({}, {"way": "magic"}, "has no way 'magic'"),
        ({"nodes": PIPER["nodes"] * 2}, {}, "two nodes have the same id"),  # type: ignore[operator]
        ({"maxMemoryPerDevice": -1}, {}, "maxMemoryPerDevice"),
    ],
)
def test_a_wrong_piper_file_is_refused(
    tmp_path: Path, changes: dict[str, object], options: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        import_profile("piper", piper(tmp_path, **changes), **options)


MODELS = """
Empty: {layers: 0, mem_MB: [], parameters_in: 0, parameters_out: []}
vit: {layers: 3, mem_MB: [1.0, 2.0, 3.0], parameters_in: 100, parameters_out: [200, 50, 10]}
"""
TYPES = """
Idle: {bw_Mbps: 0, mem_MB: 0, model_profiles: }
slow:
  bw_Mbps: 8
  mem_MB: 4
  model_profiles:
    vit:
    - {batch_size: 8, dtype: torch.float32, time_s: [1.0, 2.0, 3.0]}
    - {batch_size: 1, dtype: torch.float32, time_s: [0.1, 0.2, 0.3]}
fast:
  bw_Mbps: 80
  mem_MB: 100
  model_profiles:
    vit:
    - {batch_size: 8, dtype: torch.float32, time_s: [0.5, 1.0, 1.5]}
"""
HOSTS = "Idle: []\nslow: [mb-0, mb-1]\nfast: [rcc-0]\n"


def pipeedge(tmp_path: Path, models: str = MODELS, types: str = TYPES, hosts: str = HOSTS) -> Path:
    for name, text in (("models.yml", models), ("device_types.yml", types), ("devices.yml", hosts)):
        (tmp_path / name).write_text(text)
    return tmp_path / "models.yml"


def test_pipeedges_hosts_become_devices_with_links_of_the_lower_bandwidth(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    profile = import_profile("pipeedge", pipeedge(tmp_path))
    assert [device.name for device in profile.devices] == ["mb-0", "mb-1", "rcc-0"]
    assert [device.memory_bytes for device in profile.devices] == [4 << 20, 4 << 20, 100 << 20]
    assert profile.tensor_bytes["layer1:0"] == 200 * 8 * 4
    table = cost_table(profile)
    slow, fast = 2**20, 10 * 2**20
    timeline = simulate(table, (PlacedSlice((0,), 0), PlacedSlice((1, 2), 2)))
    moved = 100 * 32 / slow + 200 * 32 / slow + 10 * 32 / fast
    assert timeline.seconds == pytest.approx(1.0 + 1.0 + 1.5 + moved)


def test_pipeedges_files_may_lie_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = pipeedge(tmp_path, hosts="slow: [only]\n")
    other = tmp_path / "hosts.yml"
    other.write_text("slow: [a]\nfast: []\n")
    profile = import_profile("pipeedge", file, devices=str(other), batch_size=1, model="vit")
    cost = profile.layers[2].cost["a"]
    assert cost is not None
    assert cost.seconds == 0.3


@pytest.mark.parametrize(
    ("files", "options", "error", "said"),
    [
        ({}, {"batch_size": 3}, UsageError, "no measurement of vit at batch size 3"),
        ({}, {"model": "bert"}, UsageError, "no model 'bert'"),
        ({}, {"dtype": "int128"}, UsageError, "element type"),
        ({"models": MODELS.replace("[1.0, 2.0, 3.0]", "[1.0]")}, {}, ModelError, "mem_MB: has 1 numbers"),
        (
            {"types": TYPES.replace("[0.5, 1.0", "[-1, 1.0")},
            {},
            ModelError,
            r"time_s\[0\]: must be a number of at least",
        ),
        ({"hosts": "fast: [a, a]\n"}, {}, ModelError, "'a' stands twice"),
        ({"hosts": "quick: [a]\n"}, {}, ModelError, "no device type 'quick'"),
        ({"hosts": "fast: a\n"}, {}, ModelError, "must be a list of hosts"),
        ({"models": "["}, {}, ModelError, "is not YAML"),
        ({"models": "- 1"}, {}, ModelError, "must be a mapping"),
    ],
)
def test_wrong_pipeedge_files_are_refused(
    tmp_path: Path, files: dict[str, str], options: dict[str, object], error: type[Exception], said: str
) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(error, match=said):
        import_profile("pipeedge", pipeedge(tmp_path, **files), **options)


TIMES = """conv1 4000 2000 1000 3000 8000 5000 4500
fire/a 400 200 100 300 800 500 450
fire/concat 40 20.5 10 30 80 50 45
"""
INFO = """k 1,8@k; 1,8@k;
conv1 1,3,8,8@x;1,8@k; 1,16,4,4@c;
fire/a 1,16,4,4@c; 1,16,4,4@a;
fire/concat 1,16,4,4@c;1,16,4,4@a; 1,32,4,4@y;
"""
TRANSFERS = "1,16,4,4 70 80\n1,32,4,4 90 100\n1,3,8,8 50 60\n"


def hope(tmp_path: Path, times: str = TIMES + "k 0 0 0 0 0 0 0\n", info: str = INFO, moves: str = TRANSFERS) -> Path:
    for name, text in (("times.csv", times), ("info.txt", info), ("moves.csv", moves)):
        (tmp_path / name).write_text(text)
    return tmp_path / "times.csv"


def test_hopes_three_files_make_a_graph_with_measured_transfers(tmp_path: Path) -> None:
    files = {"info": str(tmp_path / "info.txt"), "transfers": str(tmp_path / "moves.csv")}
    profile = import_profile("hope", hope(tmp_path), **files, missing_transfer_us=1300, little_threads=2)
    assert [device.name for device in profile.devices] == ["cpu", "gpu", "little"]
    assert profile.inputs == ("x",)
    assert profile.outputs == ("y",)
    assert profile.tensor_bytes["x"] == 4 * 3 * 8 * 8
    conv = profile.layers[1]
    assert {state: cost.seconds for state, cost in conv.cost.items() if cost} == pytest.approx(
        {"cpu": 1e-3, "gpu": 3e-3, "little": 5e-3}
    )
    table = cost_table(profile)
    there = simulate(table, (PlacedSlice((0, 1), 0), PlacedSlice((2,), 1), PlacedSlice((3,), 0)))
    assert there.seconds == pytest.approx(1e-6 * (1000 + 80 + 300 + 70 + 10))


def test_hopes_times_alone_make_a_chain(tmp_path: Path) -> None:
    profile = import_profile("hope", hope(tmp_path, TIMES), threads=2)
    assert [layer.name for layer in profile.layers] == ["conv1", "fire/a", "fire/concat"]
    assert "dataflow" in profile.meta
    cost = profile.layers[2].cost["cpu"]
    assert cost is not None
    assert cost.seconds == pytest.approx(20.5e-6)


@pytest.mark.parametrize(
    ("files", "options", "error", "said"),
    [
        ({"times": TIMES}, {}, ModelError, "has no times of layer 'k'"),
        ({}, {"threads": 3}, UsageError, "the tables have 1, 2 and 4"),
        ({"times": "conv1 1 2 3\n"}, {}, ModelError, "line 1: has 4 columns, 5 are needed"),
        ({"times": "conv1 1 2 -3 4\n"}, {}, ModelError, "at least 0"),
        ({"times": TIMES + TIMES}, {}, ModelError, "line 4: layer 'conv1' stands twice"),
        ({"times": ""}, {}, ModelError, "holds no layer"),
        ({"info": "conv1 1,3@x; 1,ab@y;\n"}, {}, ModelError, "'1,ab@y' is no tensor"),
        ({"moves": "1,16,4,4 70\n"}, {}, ModelError, "line 1: has 2 columns"),
        ({"moves": ""}, {}, ModelError, "has no time for shape"),
    ],
)
def test_wrong_hope_files_are_refused(
    tmp_path: Path, files: dict[str, str], options: dict[str, object], error: type[Exception], said: str
) -> None:
    graph = {"info": str(tmp_path / "info.txt"), "transfers": str(tmp_path / "moves.csv")}
    with pytest.raises(error, match=said):
        import_profile("hope", hope(tmp_path, **files), **graph, **options)
    with pytest.raises(UsageError, match="times of transfers"):
        import_profile("hope", hope(tmp_path), info=str(tmp_path / "info.txt"))
