"""Fixtures that every test may use, and what the ``provider`` marker means."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MOSAIC_SHARED", Path(__file__).parents[2] / "shared"))
REQUIRED = os.environ.get("MOSAIC_REQUIRE_PROVIDERS", "").split(",")
"""Set by ``make test-providers``: one of these that is absent fails its tests instead of skipping them."""
TARGETS = {"cuda": "test-cuda"}
"""Which target of make brings a provider; the others: ``test-providers``."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test data; the test is skipped where it is absent."""
    if not (SHARED / "models" / "catalog.json").is_file():
        pytest.skip(f"shared test data is absent ({SHARED}): set MOSAIC_SHARED")
    return SHARED


@cache
def absence(name: str) -> str:
    """Why a device is not here; empty where it is."""
    from mosaic_onnx.discovery.registry import find_all

    found = find_all()
    if name in found.devices:
        return ""
    return next((each.reason for each in found.absent if each.name == name), "no backend knows it")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose provider is absent, or fail it where providers are required."""
    for marker in item.iter_markers("provider"):
        for name in marker.args:
            reason = absence(name)
            if reason and name in REQUIRED:
                pytest.fail(f"provider {name} is absent: {reason}", pytrace=False)
            if reason:
                pytest.skip(
                    f"provider {name} is absent ({reason}); `make {TARGETS.get(name, 'test-providers')}` brings it"
                )
