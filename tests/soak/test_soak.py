"""A short soak: the same work again and again leaves nothing behind. The long one is `make soak`."""

from __future__ import annotations

import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.activities import Soak
from tests.soak.levels import Levels, leaks


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Soak:
    if sys.platform != "linux":
        pytest.skip("levels are read from /proc")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return Soak(tmp_path / "work", random.Random(0))


def test_repeated_work_leaves_nothing_behind(work: Soak) -> None:
    work.prepare()
    readings = []
    for number in range(4):
        work.run()
        work.refuse()
        if number:
            readings.append(Levels.now())
    assert leaks(readings) == []


@pytest.mark.slow
def test_compilations_and_kills_leave_nothing_behind(work: Soak) -> None:
    work.prepare()
    readings = []
    for number in range(6):
        work.round()
        if number > 2:
            readings.append(Levels.now())
    assert leaks(readings) == []


def test_a_leak_is_named_with_what_grew() -> None:
    flat = Levels(2**30, 20, 8, 0, 0)
    assert leaks([flat] * 9) == []
    assert leaks([replace(flat, memory_bytes=2**30 + number * 2**20) for number in range(9)]) == []
    grown = [replace(flat, descriptor_count=20 + number) for number in range(9)]
    assert leaks(grown) == ["descriptor_count grew from 21 to 27"]
    grown = [replace(flat, memory_bytes=2**30 + number * 2**25) for number in range(9)]
    assert [words.split()[0] for words in leaks(grown)] == ["memory_bytes"]
