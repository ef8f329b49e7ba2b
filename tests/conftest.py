"""Fixtures that every test may use, and what the markers ``corpus`` and ``provider`` mean."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

SHARED = Path(os.environ.get("MOSAIC_SHARED", Path(__file__).parents[2] / "shared"))
OUTSIDE_ABSENT = "outside data absent"
"""The reason of tests that are skipped because they need the shared data."""
REQUIRED = os.environ.get("MOSAIC_REQUIRE_PROVIDERS", "").split(",")
"""Set by ``make test-providers``: one of these that is absent fails its tests instead of skipping them."""
TARGETS = {"cuda": "test-cuda"}
"""{provider: the target of make that installs it}; others: ``test-providers``."""


def skip_without_shared_data() -> None:
    """Skip the test that asks where the shared data is absent."""
    if not (SHARED / "models" / "catalog.json").is_file():
        pytest.skip(f"{OUTSIDE_ABSENT}: {SHARED}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test data; the test is skipped where it is absent."""
    skip_without_shared_data()
    return SHARED


@cache
def absence(name: str) -> str:
    """Return why a device is not available; empty where it is."""
    from mosaic_onnx.discovery.registry import find_all

    found = find_all()
    if name in found.devices:
        return ""
    return next((each.reason for each in found.absent if each.name == name), "no backend knows it")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose data or provider is absent, or fail it where providers are required."""
    if item.get_closest_marker("corpus"):
        skip_without_shared_data()
    for marker in item.iter_markers("provider"):
        for name in marker.args:
            reason = absence(name)
            if reason and name in REQUIRED:
                pytest.fail(f"provider {name} is absent: {reason}", pytrace=False)
            if reason:
                pytest.skip(
                    f"provider {name} is absent ({reason}); `make {TARGETS.get(name, 'test-providers')}` brings it"
                )


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Count in one line what was left out for want of the shared data."""
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    count = sum(OUTSIDE_ABSENT in reason for reason in skipped)
    if count:
        terminalreporter.write_line(
            f"{count} tests skipped: {OUTSIDE_ABSENT}. They need the data folder that MOSAIC_SHARED names ({SHARED})."
        )


@pytest.fixture(scope="session", autouse=True)
def _children_tell_their_coverage() -> Iterator[None]:
    """Let children of isolation end by themselves while coverage is measured: one that is killed writes nothing."""
    if "COVERAGE_PROCESS_CONFIG" not in os.environ and "COVERAGE_PROCESS_START" not in os.environ:
        yield
        return
    from mosaic_onnx.isolation import process

    kill = process._end

    def end(child: subprocess.Popen[bytes]) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            if child.stdin is not None:
                child.stdin.close()
            child.wait(timeout=5.0)
        kill(child)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "_end", end)
        yield
