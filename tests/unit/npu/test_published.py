"""The published rules against every figure that was handed out with them."""

from __future__ import annotations

import csv
from math import ceil
from pathlib import Path

import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.npu.costs.traffic import compulsory_bytes
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.published.eyeriss_chip import ALEXNET_MAPPINGS, chip_cost
from mosaic_onnx.npu.published.midap import block_cycles, block_of, valid_taps
from mosaic_onnx.npu.published.nvdla_sheet import SheetKind, SheetRow, read_sheet, sheet_cost
from mosaic_onnx.npu.published.scale_sim import SystolicDataflow, scale_sim_cycles
from mosaic_onnx.npu.search.exact import best_mapping
from tests.unit.npu.helpers import convolution

SCALE_SIM = (  # input, filter, C, K, stride; OS, WS, IS on 32 × 32 (reference npu, section 4)
    ((230, 7, 3, 64, 2), (167_199, 128_629, 315_999)),
    ((56, 1, 64, 64, 1), (24_695, 12_919, 30_967)),
    ((58, 3, 64, 64, 1), (125_047, 116_279, 278_711)),
    ((16, 3, 256, 256, 1), (132_495, 167_039, 176_399)),
    ((7, 1, 2048, 512, 1), (67_519, 146_431, 77_567)),
)


@pytest.mark.parametrize(("layer", "expected"), SCALE_SIM)
def test_scale_sims_cycles_are_exact(layer: tuple[int, ...], expected: tuple[int, ...]) -> None:
    extent, taps, channels, outputs, stride = layer
    nest = convolution(channels, extent, outputs, taps, stride, 0)
    names: tuple[SystolicDataflow, ...] = ("os", "ws", "is")
    assert tuple(scale_sim_cycles(nest, 32, 32, name) for name in names) == expected


def test_every_row_of_nvdlas_sheet_is_exact(shared: Path) -> None:
    path = shared / "reference" / "npu" / "nvdla_resnet50.csv"
    hardware = load_hardware("nvdla-full")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for expected, row in zip(rows, read_sheet(path), strict=True):
        cost = sheet_cost(row, hardware)
        assert cost.dram_traffic_kb == pytest.approx(float(expected["dram_traffic_kB"]), rel=1e-12), row.name
        assert cost.mac_cycles == pytest.approx(float(expected["mac_cycles"]), rel=1e-12), row.name
        assert cost.cycles == pytest.approx(float(expected["cycles"]), rel=1e-12), row.name


def sheet_of_resnet50() -> list[SheetRow]:
    """All 54 rows as the handed-out half writes them: strides in branch2a, 256 channels into res2a's branch2a."""
    rows = [SheetRow("conv1", "conv", 3, 224, 224, 64, 7, 7, 2, 56, 56)]
    channels, extent = 64, 56
    for stage, (count, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=2):
        for unit in range(count):
            stride, is_last = (2 if stage > 2 and not unit else 1), (stage, unit) == (5, 2)
            made = extent // stride
            if not unit:
                rows.append(_row(channels, extent, 4 * width, 1, stride, made))
            rows.append(_row(256 if (stage, unit) == (2, 0) else channels, extent, width, 1, stride, made))
            rows.append(_row(width, made, width, 3, 1, made))
            rows.append(_row(width, made, 4 * width, 1, 1, 1 if is_last else made, "conv + elwise"))
            channels, extent = 4 * width, made
    return [*rows, _row(2048, 1, 1000, 1, 1, 1, "fc")]


def _row(
    channels: int, extent: int, outputs: int, taps: int, stride: int, made: int, kind: SheetKind = "conv"
) -> SheetRow:
    return SheetRow("row", kind, channels, extent, extent, outputs, taps, taps, stride, made, made)


def test_the_rows_of_nvdlas_sheet_add_up_to_its_total() -> None:
    hardware = load_hardware("nvdla-full")
    rows = sheet_of_resnet50()
    assert len(rows) == 54
    assert ceil(sum(sheet_cost(row, hardware).cycles for row in rows)) == 7_113_691


def test_midaps_closed_form_is_within_two_percent_of_its_simulator_on_average(shared: Path) -> None:
    rows = list(csv.DictReader((shared / "reference" / "npu" / "midap_blocks.csv").read_text().splitlines()))
    errors: dict[str, list[float]] = {}
    for row in rows:
        cycles = block_cycles(block_of(row["block"], row["specification"]))
        errors.setdefault(row["block"], []).append(abs(cycles / int(row["cycles"]) - 1))
    for block in ("MBConvBlock", "MixConvBlock"):
        assert len(errors[block]) == 100
        assert sum(errors[block]) / 100 < 0.02
        assert max(errors[block]) < 0.09
    assert max(errors["Conv2D"] + errors["Dense"]) < 0.03


def test_valid_taps_leave_out_the_padding() -> None:
    assert valid_taps(4, 3, 1) == 2 + 3 + 3 + 2
    assert valid_taps(5, 1, 1) == 5


@pytest.mark.parametrize(
    ("kind", "specification", "complaint"),
    [
        ("Inception", "r1_k3_s11_e2_i8_o8_imgsize7", "is not a block"),
        ("MBConvBlock", "r1_k3_s11_i8_o8_imgsize7", "has no e"),
        ("MixConvBlock", "r1_k3,5_s11_e2,2,2_i8_o8_imgsize7", "one expansion a kernel"),
    ],
)
def test_a_specification_that_cannot_be_read_is_named(kind: str, specification: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        block_of(kind, specification)


ALEXNET = (  # C, K of a group, output, filter, stride, groups; active PEs and ms of a batch of 4 (reference, section 4)
    ((3, 96, 55, 11, 4, 1), 154, 16.5),
    ((48, 128, 27, 5, 1, 2), 135, 39.2),
    ((256, 384, 13, 3, 1, 1), 156, 21.8),
    ((192, 192, 13, 3, 1, 2), 156, 16.0),
    ((192, 128, 13, 3, 1, 2), 156, 10.0),
)


@pytest.mark.parametrize(("number", "row"), list(enumerate(ALEXNET)))
def test_the_eyeriss_chip_takes_its_published_time_within_ten_percent(number: int, row) -> None:
    (channels, outputs, size, taps, stride, groups), active, milliseconds = row
    extent = (size - 1) * stride + taps
    nest = LoopNest(
        "conv", "conv", 4, outputs, channels, size, size, taps, taps, extent, extent, (stride, stride), repeats=groups
    )
    cost = chip_cost(nest, ALEXNET_MAPPINGS[number])
    assert cost.active_pes == active
    assert cost.seconds * 1e3 == pytest.approx(milliseconds, rel=0.10)


def test_timeloops_dram_accesses_of_mobilenets_first_layer() -> None:
    nest = convolution(3, 225, 32, 3, 2, 0)
    eyeriss = load_hardware("eyeriss")
    assert compulsory_bytes(nest, eyeriss) // 2 == 554_147
    accesses = best_mapping(nest, eyeriss, "energy").cost.dram_bytes / 2
    assert accesses == pytest.approx(572_528, rel=0.05)
