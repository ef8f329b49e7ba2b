"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MOSAIC_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test data; the test is skipped where it is absent."""
    if not (SHARED / "models" / "catalog.json").is_file():
        pytest.skip(f"shared test data is absent ({SHARED}): set MOSAIC_SHARED")
    return SHARED
