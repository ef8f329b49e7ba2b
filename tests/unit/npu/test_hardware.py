"""``npu.toml``: every preset reads back, every mistake is named by its key."""

from __future__ import annotations

import pytest

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.npu.hardware.file import hardware_from_toml, load_hardware, preset_names, preset_text

PRESETS = {"eyeriss", "nvdla-full", "nvdla-small", "midap", "systolic32", "tpu-like", "kirin970"}


def test_the_presets_of_the_reference_are_there_and_bear_their_names() -> None:
    assert set(preset_names()) >= PRESETS
    for name in preset_names():
        assert load_hardware(name).name == name


def test_presets_have_the_published_facts() -> None:
    eyeriss, nvdla, kirin = (load_hardware(name) for name in ("eyeriss", "nvdla-full", "kirin970"))
    assert (eyeriss.array.rows, eyeriss.array.columns, eyeriss.buffer.total_bytes) == (12, 14, 108 * 1024)
    assert (nvdla.array.mac_count, nvdla.buffer.total_bytes, nvdla.dram.bytes_per_cycle) == (2048, 512 * 1024, 10.0)
    assert kirin.array.mac_count * 2 * kirin.clock_hz == pytest.approx(1.92e12)
    assert kirin.dram.bytes_per_cycle * kirin.clock_hz == pytest.approx(29.9e9, rel=1e-3)
    assert load_hardware("midap").buffer.total_bytes == 4 * 256 * 1024 + 16 * 16 * 1024


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("rows = 12", "rows = 0", r"array\.rows"),
        ("rows = 12", "rows = 12\nrow_unrol = ['K']", r"array\.row_unrol: unknown key"),
        ("bytes_per_cycle = 2.4", "bytes_per_cycle = nan", r"dram\.bytes_per_cycle"),
        ("mac_j = 1e-12", "mac_j = -1e-12", r"energy\.mac_j"),
        ("bytes = 110592", "", "give either bytes"),
        ("bytes = 110592", "bytes = 110592\nweight_bytes = 5", "give either bytes"),
        ('"mosaic-onnx/npu/1"', '"mosaic-onnx/npu/2"', "schema is"),
        ("rows = 12", "rows = 12\nrow_unroll = ['X']", r"array\.row_unroll\[0\]"),
        ("[array]", "[array", "not TOML"),
    ],
)
def test_a_mistake_is_named_by_its_key(before: str, after: str, complaint: str) -> None:
    text = preset_text("eyeriss")
    assert before in text
    with pytest.raises(ModelError, match=complaint):
        hardware_from_toml(text.replace(before, after, 1))


def test_a_name_that_is_no_preset_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match="no NPU is called 'npu9000'") as caught:
        load_hardware("npu9000")
    assert "eyeriss" in caught.value.hint


def test_area_grows_with_elements_and_buffer() -> None:
    eyeriss = load_hardware("eyeriss")
    assert eyeriss.area_mm2 == pytest.approx(12.25, rel=0.02)
    assert load_hardware("midap").area_mm2 is None
