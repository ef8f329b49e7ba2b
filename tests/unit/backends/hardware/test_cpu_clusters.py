"""CPU clusters are found in what the kernel says of the cores."""

from __future__ import annotations

from pathlib import Path

from mosaic_onnx.backends.hardware.cpu_clusters import Cluster, cpu_clusters
from mosaic_onnx.backends.hardware.system import SystemFiles
from tests.unit.backends.hardware.recorded import laptop, phone, server, write


def test_big_and_little_cores_are_told_by_their_capacity(tmp_path: Path) -> None:
    big = Cluster("big", (4, 5, 6, 7), 1024, 2.362e9)
    little = Cluster("little", (0, 1, 2, 3), 462, 1.844e9)
    assert cpu_clusters(phone(tmp_path).files) == (big, little)


def test_performance_and_efficiency_cores_are_told_by_their_type(tmp_path: Path) -> None:
    clusters = cpu_clusters(laptop(tmp_path))
    assert [(each.name, each.cores) for each in clusters] == [("p", tuple(range(8))), ("e", tuple(range(8, 16)))]


def test_equal_cores_make_no_clusters(tmp_path: Path) -> None:
    assert cpu_clusters(server(tmp_path)) == ()


def test_a_cluster_holds_only_cores_that_this_process_may_use(tmp_path: Path) -> None:
    clusters = cpu_clusters(phone(tmp_path).files, usable=(2, 3, 4))
    assert [(each.name, each.cores) for each in clusters] == [("big", (4,)), ("little", (2, 3))]


def test_a_process_on_one_cluster_sees_no_clusters(tmp_path: Path) -> None:
    assert cpu_clusters(phone(tmp_path).files, usable=(4, 5)) == ()


def test_three_kinds_of_cores_make_three_clusters(tmp_path: Path) -> None:
    cpu = tmp_path / "sys/devices/system/cpu"
    write(cpu, {"online": "0-7"})
    for core, capacity in enumerate([250] * 4 + [700] * 3 + [1024]):
        write(cpu / f"cpu{core}", {"cpu_capacity": capacity})
    clusters = cpu_clusters(SystemFiles(tmp_path))
    assert [(each.name, each.cores) for each in clusters] == [
        ("big", (7,)),
        ("middle", (4, 5, 6)),
        ("little", (0, 1, 2, 3)),
    ]


def test_a_machine_without_these_files_has_no_clusters(tmp_path: Path) -> None:
    assert cpu_clusters(SystemFiles(tmp_path)) == ()
