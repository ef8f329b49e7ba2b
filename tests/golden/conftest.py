"""Golden files: ``make golden`` writes them anew; the difference is then read, and committed with the change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FILES = Path(__file__).with_name("files")
Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a text with the golden file of a name."""
    renew = request.config.getoption("--renew-golden", default=False)

    def check(name: str, text: str) -> None:
        path = FILES / name
        if renew:
            path.write_text(text, "utf-8")
        assert path.is_file(), f"{path.name} is missing: run `make golden`"
        assert text == path.read_text("utf-8"), f"{path.name} has changed: if it should, run `make golden`"

    return check
