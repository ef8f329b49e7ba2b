"""``--verdicts FOLDER``: keep what passed, so that a run of the whole corpus can be interrupted and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.reports import TestReport
from _pytest.terminal import TerminalReporter

from tests.corpus.verdicts import Verdicts

_VERDICTS = pytest.StashKey[Verdicts]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--verdicts", type=Path, help="a folder for verdicts; what passed there is not run again")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("verdicts", None):
        config.stash[_VERDICTS] = Verdicts.read(config.getoption("verdicts"))


def _names(item: pytest.Item) -> tuple[str, str]:
    """The test's function, and the model that it is about (empty where it is about none)."""
    call = getattr(item, "callspec", None)
    return getattr(item, "originalname", item.name), "" if call is None else str(call.params.get("name", ""))


def pytest_runtest_setup(item: pytest.Item) -> None:
    verdicts = item.config.stash.get(_VERDICTS, None)
    if verdicts is not None and verdicts.passed(*_names(item)):
        pytest.skip("passed before, with this code and this model")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report: TestReport = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's result
    verdicts = item.config.stash.get(_VERDICTS, None)
    if verdicts is None or "passed before" in str(report.longrepr):
        return
    if report.when == "call" or report.outcome != "passed":
        verdicts.keep(*_names(item), report.outcome)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    if config.stash.get(_VERDICTS, None) is not None:
        terminalreporter.write_line(Verdicts.read(config.getoption("verdicts")).table())
