"""``mosaic-onnx npu``: the forms that outside checks read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Mosaic

HEADER = "name,kind,C,H,W,K,R,S,stride,padding,groups,batch\n"


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Two small layers."""
    path = tmp_path / "layers.csv"
    path.write_text(HEADER + "a,conv,8,12,12,16,3,3,1,same,1,1\nb,gemm,64,1,1,10,1,1,1,valid,1,1\n")
    return path


def test_list_names_every_preset(mosaic: Mosaic) -> None:
    done = mosaic("npu", "list", "--json")
    assert done.exit_code == 0
    assert done.json["schema"] == "mosaic-onnx/npu-list/1"
    assert {"eyeriss", "nvdla-full", "midap", "systolic32", "tpu-like", "kirin970"} <= {
        each["name"] for each in done.json["npus"]
    }


def test_show_prints_a_file_that_map_takes(mosaic: Mosaic, layers: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(mosaic("npu", "show", "eyeriss").stdout.replace('name = "eyeriss"', 'name = "own"'))
    done = mosaic("npu", "map", str(layers), "--hardware", str(own), "--json")
    assert done.json["hardware"] == "own"


def test_map_prints_the_fields_of_the_interface(mosaic: Mosaic, layers: Path) -> None:
    found = mosaic("npu", "map", str(layers), "--hardware", "eyeriss", "--json").json
    assert found["schema"] == "mosaic-onnx/npu-map/1"
    assert found["simulated"] is True
    assert [layer["name"] for layer in found["layers"]] == ["a", "b"]
    first = found["layers"][0]
    assert first["macs"] == 8 * 16 * 144 * 9
    assert {"cycles", "seconds", "joules", "utilisation", "dram_bytes", "buffer_bytes", "bound_cycles"} <= set(first)
    assert {"dataflow", "spatial", "order", "tiles"} <= set(first)
    assert set(first["certificate"]) == {"evaluated", "pruned", "bound", "gap"}
    assert first["certificate"]["gap"] == 0
    assert first["cycles"] >= first["bound_cycles"]
    assert found["cycles"] == sum(layer["cycles"] for layer in found["layers"])
    assert found["seconds"] == pytest.approx(found["cycles"] / 200e6)


@pytest.mark.parametrize("dataflow", ["nvdla", "eyeriss", "shidiannao", "os", "ws", "is", "genetic"])
def test_best_is_never_above_any_other_dataflow(mosaic: Mosaic, layers: Path, dataflow: str) -> None:
    best = mosaic("npu", "map", str(layers), "--json").json
    other = mosaic("npu", "map", str(layers), "--dataflow", dataflow, "--json").json
    assert best["cycles"] <= other["cycles"]
    assert other["layers"][0]["dataflow"] == dataflow


def test_the_cycle_level_model_is_never_below_the_analytical_one(mosaic: Mosaic, layers: Path) -> None:
    analytical, cycle = (
        mosaic("npu", "map", str(layers), "--cost-model", model, "--json").json["cycles"]
        for model in ("analytical", "cycle")
    )
    assert analytical <= cycle <= analytical * 1.2


def test_published_rules_take_their_own_tables(mosaic: Mosaic, tmp_path: Path) -> None:
    blocks, sheet = tmp_path / "blocks.csv", tmp_path / "sheet.csv"
    blocks.write_text("block,specification\nMBConvBlock,r1_k3_s11_e4_i64_o64_c0_imgsize28\n")
    sheet.write_text(
        "layer,kind,C,H,W,K,R,S,padded,stride,P,Q,pooled,pool_size,pool_stride,A,B\n"
        "Res2b_branch2b,conv,64,56,56,64,3,3,True,1,56,56,False,,,56,56\n"
    )
    midap = mosaic("npu", "map", str(blocks), "--hardware", "midap", "--cost-model", "midap", "--json").json
    nvdla = mosaic("npu", "map", str(sheet), "--hardware", "nvdla-full", "--cost-model", "nvdla-sheet", "--json").json
    assert midap["layers"][0]["name"] == "r1_k3_s11_e4_i64_o64_c0_imgsize28"
    assert midap["cycles"] == pytest.approx(54_033, rel=0.03)
    assert nvdla["layers"][0]["name"] == "Res2b_branch2b"
    assert nvdla["cycles"] == 50_176


def test_a_model_maps_with_table_comparison_and_pictures(mosaic: Mosaic, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    roof, tiles = tmp_path / "roof.svg", tmp_path / "tiles.svg"
    words = ("--compare", "--roofline", str(roof), "--timeline", "fc0", "--picture", str(tiles))
    done = mosaic("npu", "map", str(model), *words)
    assert done.exit_code == 0, done.stderr
    assert "emulated" in done.stdout
    assert roof.read_text().startswith("<?xml")
    assert tiles.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--hardware", "abacus"), 2, "no NPU is called"),
        (("--dataflow", "fastest"), 2, "fastest"),
        (("--hardware", "nvdla-full", "--dataflow", "shidiannao"), 2, "cannot run the dataflow"),
        (("--timeline", "zzz"), 2, "no layer on the array"),
    ],
)
def test_wrong_words_are_refused(
    mosaic: Mosaic, layers: Path, words: tuple[str, ...], code: int, complaint: str
) -> None:
    done = mosaic("npu", "map", str(layers), *words)
    assert done.exit_code == code
    assert complaint in done.stderr
