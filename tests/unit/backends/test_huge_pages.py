"""The memory that is put on huge pages: whole blocks that a load added, as far as they are filled."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import parser

from mosaic_onnx.backends import huge_pages
from mosaic_onnx.backends.huge_pages import (
    LEAST_BYTES,
    AddressRange,
    added,
    bytes_read_once,
    full_blocks,
    on_huge_pages,
    private_spans,
)
from mosaic_onnx.backends.huge_pages import _collapse as collapse


class Maps:
    """Stands for the file of memory maps; counts how often it is read."""

    def __init__(self) -> None:
        self.read_count = 0

    def read_text(self) -> str:
        self.read_count += 1
        return MAPS


MAPS = """\
00400000-00500000 r-xp 00000000 fe:00 1234 /usr/bin/python
00600000-00700000 rw-p 00000000 fe:00 1234 /usr/bin/python
01000000-02000000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0001000000 rw-p 00000000 00:00 0
7f0001000000-7f0001800000 rw-p 00000000 00:00 0 [anon: a library]
7f0002000000-7f0003000000 rw-s 00000000 00:00 0
7f0004000000-7f0004800000 ---p 00000000 00:00 0
7ffc00000000-7ffc00100000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_writable_memory_of_no_file_counts() -> None:
    named = AddressRange(0x7F0001000000, 0x7F0001800000)
    assert private_spans(MAPS) == [
        AddressRange(0x1000000, 0x2000000),
        AddressRange(0x7F0000000000, 0x7F0001000000),
        named,
    ]


def spans(bounds: set[int]) -> list[AddressRange]:
    ordered = sorted(bounds)
    return [AddressRange(*pair) for pair in zip(ordered[::2], ordered[1::2], strict=False)]


BOUNDS = st.sets(st.integers(0, 60), max_size=12)


@given(BOUNDS, BOUNDS)
def test_what_was_added_is_what_lies_in_the_later_spans_only(before: set[int], after: set[int]) -> None:
    def addresses(found: list[AddressRange]) -> set[int]:
        return {address for start, end in found for address in range(start, end)}

    found = list(added(spans(before), spans(after)))
    assert addresses(found) == addresses(spans(after)) - addresses(spans(before))
    assert sum(end - start for start, end in found) == len(addresses(found))


def test_blocks_that_are_nearly_full_are_found_in_one_stretch() -> None:
    resident = np.ones((5, 10), dtype=np.bool_)
    resident[1, :2] = False  # four fifths
    resident[3, 0] = False  # nine tenths
    found = list(full_blocks(AddressRange(1000, 1500), 100, resident.reshape(-1)))
    assert found == [AddressRange(1000, 1100), AddressRange(1200, 1500)]


def graph_of(conv_channels: int, product_rows: int, *, quantised: bool = False) -> onnx.GraphProto:
    """A convolution with [c, c, 3, 3] weights of 4 bytes, or quantised ones of 1, before a product with [n, 1000]."""
    c, kind = conv_channels, "int8" if quantised else "float"
    kernel = "k" if quantised else "w"
    widened = "w = DequantizeLinear(k, s)" if quantised else ""
    body = f"{widened} a = Conv(x, w) b = Flatten(a) y = MatMul(b, m)"
    text = f'<ir_version: 10, opset_import: ["" : 21]> g (float[1,{c},8,8] x) => (float[1,1000] y) {{ {body} }}'
    graph = parser.parse_model(text).graph
    for name, element, shape in ((kernel, kind, (c, c, 3, 3)), ("m", "float", (product_rows, 1000))):
        one = graph.initializer.add(name=name, dims=shape)
        one.data_type = onnx.TensorProto.INT8 if element == "int8" else onnx.TensorProto.FLOAT
    return graph


def test_weights_of_products_are_read_once_a_run_and_those_of_convolutions_are_not() -> None:
    assert bytes_read_once(graph_of(10, 2000)) == 8_000_000
    assert bytes_read_once(graph_of(1000, 2000)) == 0  # 36 MB of convolutions beside 8 MB


def test_weights_of_a_convolution_are_known_behind_their_dequantisation() -> None:
    assert bytes_read_once(graph_of(1000, 2000, quantised=True)) == 0  # 9 MB of convolutions beside 8 MB
    assert bytes_read_once(graph_of(900, 2000, quantised=True)) == 8_000_000


def test_a_graph_without_weights_reads_none() -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    assert bytes_read_once(parser.parse_model(text).graph) == 0


def test_small_weights_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = Maps()
    monkeypatch.setattr(huge_pages, "_MAPS", maps)
    with on_huge_pages(LEAST_BYTES - 1):
        pass
    assert maps.read_count == 0


def test_a_system_whose_owner_forbids_them_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    (tmp_path / "hpage_pmd_size").write_text("2097152\n")
    monkeypatch.setattr(huge_pages, "_SETTINGS", tmp_path)
    maps = Maps()
    monkeypatch.setattr(huge_pages, "_MAPS", maps)
    with on_huge_pages(LEAST_BYTES):
        pass
    assert maps.read_count == 0


def test_a_load_goes_on_where_the_system_tells_nothing_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_MAPS", Path("never there"))
    with on_huge_pages(LEAST_BYTES):
        loaded = bytearray(LEAST_BYTES)
    assert not any(loaded)


def test_a_failed_load_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="refused"), on_huge_pages(LEAST_BYTES):
        raise RuntimeError("refused")


def huge_bytes(held: mmap.mmap) -> int:
    """Bytes of the mapping that lie on huge pages, as the kernel tells."""
    address = np.frombuffer(held, dtype=np.uint8).ctypes.data
    inside = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            start, end = (int(part, 16) for part in head.split("-"))
            inside = start <= address < end
        elif inside and head == "AnonHugePages:":
            return int(line.split()[1]) * 1024
    return 0


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are asked for on Linux only")
def test_memory_that_is_filled_while_loading_keeps_its_contents_on_huge_pages() -> None:
    size = 32 << 20
    with on_huge_pages(size):
        held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        array = np.frombuffer(held, dtype=np.uint32)
        array[:] = np.arange(size // 4, dtype=np.uint32)
    assert np.array_equal(array, np.arange(size // 4, dtype=np.uint32))
    moved_bytes = huge_bytes(held)
    if not moved_bytes:
        collapse(AddressRange(array.ctypes.data, array.ctypes.data + size), 2 << 20)
        if not huge_bytes(held):
            pytest.skip("the system gives this process no huge pages (Linux before 6.1, or none free)")
    assert moved_bytes >= size // 2
