"""Workloads of msr-fiddle/dnn-partitioning become profiles."""

import json
from pathlib import Path

import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.importers import import_dnn_partitioning, import_profile

WORKLOAD = {
    "maxSizePerFPGA": 1000.0,
    "maxFPGAs": 2,
    "maxCPUs": 1,
    "nodes": [
        {"id": 2, "name": "b", "supportedOnFpga": 1, "cpuLatency": 20.0, "fpgaLatency": 2.0, "size": 30.0},
        {"id": 1, "name": "a", "supportedOnFpga": 1, "cpuLatency": 10.0, "fpgaLatency": 1.0, "size": 5.0},
        {"id": 3, "name": "c", "supportedOnFpga": 0, "cpuLatency": 5.0, "fpgaLatency": 0.0, "size": 0.0},
    ],
    "edges": [
        {"sourceId": 1, "destId": 2, "cost": 0.5},
        {"sourceId": 1, "destId": 3, "cost": 0.5},
        {"sourceId": 2, "destId": 3, "cost": 0.25},
    ],
}


def written(folder: Path, value: object) -> Path:
    path = folder / "workload.json"
    path.write_text(json.dumps(value))
    return path


def changed(**changes: object) -> dict[str, object]:
    return {**WORKLOAD, **changes}


def with_colours(*colours: int) -> dict[str, object]:
    return changed(nodes=[node | {"colorClass": c} for node, c in zip(WORKLOAD["nodes"], colours, strict=True)])


def test_layers_stand_in_topological_order_with_seconds_and_bytes(tmp_path: Path) -> None:
    profile = import_profile("dnn-partitioning", written(tmp_path, WORKLOAD))
    assert [layer.name for layer in profile.layers] == ["a", "b", "c"]
    assert profile.layers[1].cost["acc1"].seconds == pytest.approx(0.002)
    assert profile.layers[1].cost["cpu"].seconds == pytest.approx(0.020)
    assert profile.layers[1].parameter_bytes == 30
    assert profile.layers[2].inputs == ("a:0", "b:0")
    assert profile.outputs == ("c:0",)
    assert profile.inputs == ()


def test_there_are_k_accelerators_with_a_cap_and_a_cpu_without_copies(tmp_path: Path) -> None:
    profile = import_dnn_partitioning(written(tmp_path, WORKLOAD))
    assert [(device.name, device.memory_bytes) for device in profile.devices] == [
        ("acc0", 1000),
        ("acc1", 1000),
        ("cpu", None),
    ]
    assert {(copy.source, copy.destination) for copy in profile.copies} == {
        ("host", "acc0"),
        ("acc0", "host"),
        ("host", "acc1"),
        ("acc1", "host"),
    }


def test_a_tensor_costs_the_same_time_in_both_directions(tmp_path: Path) -> None:
    profile = import_dnn_partitioning(written(tmp_path, WORKLOAD))
    for copy in profile.copies:
        assert copy.tensors["a:0"].seconds == pytest.approx(0.0005)
        assert copy.tensors["b:0"].seconds == pytest.approx(0.00025)
    assert set(profile.tensor_bytes.values()) == {0}


def test_a_node_without_accelerator_support_has_only_a_cpu_cost(tmp_path: Path) -> None:
    assert set(import_dnn_partitioning(written(tmp_path, WORKLOAD)).layers[2].cost) == {"cpu"}


def test_nodes_of_one_colour_form_a_group_and_a_colour_alone_forms_none(tmp_path: Path) -> None:
    profile = import_dnn_partitioning(written(tmp_path, with_colours(7, 7, 9)))
    groups = {layer.name: layer.group for layer in profile.layers}
    assert groups["a"] == groups["b"] != ""
    assert groups["c"] == ""


def test_the_number_of_accelerators_can_be_chosen(tmp_path: Path) -> None:
    profile = import_profile("dnn-partitioning", written(tmp_path, WORKLOAD), device_count=3)
    assert len(profile.devices) == 4


def edges(*triples: tuple[int, int, object]) -> list[dict[str, object]]:
    return [{"sourceId": source, "destId": destination, "cost": cost} for source, destination, cost in triples]


@pytest.mark.parametrize(
    ("workload", "word"),
    [
        ([], "must be an object"),
        (changed(nodes=None), "'nodes' is missing"),
        (changed(nodes=[{"name": "x"}]), r"nodes\[0\]: the key 'id' is missing"),
        (changed(nodes=[*WORKLOAD["nodes"], {"id": 1}]), "same id"),
        (changed(edges=edges((1, 9, 0.5))), r"edges\[0\]\.destId: there is no node 9"),
        (changed(edges=edges((1, 2, 0.5), (2, 1, 0.5))), "cycle"),
        (changed(edges=edges((1, 2, 0.5), (1, 3, 0.7))), "another edge of node 1 says 0.5 ms"),
        (changed(edges=edges((1, 2, -1))), "at least 0"),
        (changed(edges=edges((1, 2, "x"))), "must be a number"),
        (changed(maxFPGAs=0, maxCPUs=0), "both 0"),
        (changed(maxSizePerFPGA=None), "'maxSizePerFPGA' is missing"),
    ],
)
def test_a_malformed_workload_is_refused_with_its_place(tmp_path: Path, workload: object, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        import_dnn_partitioning(written(tmp_path, workload))


def test_a_number_that_is_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workload.json"
    path.write_text('{"maxSizePerFPGA": NaN}')
    with pytest.raises(ModelError, match="NaN"):
        import_dnn_partitioning(path)


def test_every_published_workload_can_be_read(shared: Path) -> None:
    files = sorted((shared / "benchmarks" / "dnn-partitioning").glob("*-inputs/*/*.json"))
    assert files
    for file in files:
        profile = import_profile("dnn-partitioning", file)
        position = {tensor: index for index, layer in enumerate(profile.layers) for tensor in layer.outputs}
        assert all(position[t] < index for index, layer in enumerate(profile.layers) for t in layer.inputs)
        assert len(profile.layers) == len(json.loads(file.read_text())["nodes"])
