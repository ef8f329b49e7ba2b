"""``-v``: log lines of the package on stderr, with the seconds since the command began."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

from mosaic_onnx.core.text.terminal import printable

ROOT = "mosaic_onnx"
_STARTED_S = time.perf_counter()


class _SinceStart(logging.Formatter):
    """Writes ``   1.234 s  planner: message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        room = record.name.removeprefix(f"{ROOT}.")
        return f"{time.perf_counter() - _STARTED_S:8.3f} s  {room}: {printable(record.getMessage())}"


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at the time, which a caller of the commands may replace between two of them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.stream = sys.stderr  # not setStream, which flushes the one before: it may be closed
        super().emit(record)


def enable() -> None:
    """Write log lines of the package to stderr; calling it twice adds no second line."""
    logger = logging.getLogger(ROOT)
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(handler.formatter, _SinceStart) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(_SinceStart())
        logger.addHandler(handler)
        logger.propagate = False
