"""The limits of a child: memory as far as the system tells it, and its own end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mosaic_onnx.isolation import limits
from mosaic_onnx.isolation.limits import LEAST_BYTES, MEMORY_SHARE, child_memory_bytes, free_bytes

GIB = 1 << 30
FILLS = (
    "from mosaic_onnx.isolation.limits import limit_memory; limit_memory({}); held = bytearray({}); print(len(held))"
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB free and no control group."""
    (tmp_path / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    monkeypatch.setattr(limits, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    return tmp_path


def in_group(machine: Path, most: str, used: int) -> None:
    (machine / "memory.max").write_text(f"{most}\n")
    (machine / "memory.current").write_text(f"{used}\n")


def test_a_child_may_take_a_share_of_what_the_kernel_calls_available(machine: Path) -> None:
    assert free_bytes() == 8 * GIB
    assert child_memory_bytes() == int(MEMORY_SHARE * 8 * GIB)


def test_the_control_groups_limit_counts_where_it_is_lower(machine: Path) -> None:
    in_group(machine, "max", GIB)
    assert free_bytes() == 8 * GIB
    in_group(machine, str(3 * GIB), GIB)
    assert free_bytes() == 2 * GIB
    in_group(machine, str(GIB), 2 * GIB)
    assert free_bytes() == 0
    assert child_memory_bytes() == LEAST_BYTES


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemAvailable: many kB\n"])
def test_where_nobody_tells_what_is_free_there_is_no_limit(machine: Path, text: str) -> None:
    (machine / "meminfo").write_text(text)
    assert free_bytes() is None
    assert child_memory_bytes() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory alone")
def test_a_process_over_its_limit_has_a_memory_error() -> None:
    def run(limit: str, wanted: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", FILLS.format(limit, wanted)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    assert "MemoryError" in run(str(GIB // 4), GIB // 2).stderr
    assert run("None", GIB // 2).stdout.strip() == str(GIB // 2)
