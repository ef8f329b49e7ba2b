"""The time to the first line on the screen: of each command, and of ``--help``."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx.parser

from bench.report import Row
from mosaic_onnx import api
from mosaic_onnx.planner.core.request import Request

MODEL = """<ir_version: 9, opset_import: ["" : 17]>
small (float[8, 8] x) => (float[8, 8] z) { y = MatMul (x, x)
 z = Sigmoid (y) }"""
FIRST_LINE_BAR_S = 0.3
HELP_BAR_S = 0.2
COMMANDS = (
    ("devices",),
    ("doctor",),
    ("inspect", "MODEL"),
    ("profile", "MODEL", "--dry-run"),
    ("plan", "PROFILE"),
    ("compile", "MODEL", "--dry-run"),
    ("run", "BUNDLE"),
    ("verify", "BUNDLE"),
    ("bench", "BUNDLE"),
    ("export", "BUNDLE", "-o", "FOLDER/one.onnx"),
    ("show", "BUNDLE"),
    ("explain", "BUNDLE"),
    ("report", "BUNDLE", "-o", "FOLDER/report.html"),
    ("schema", "plan"),
    ("diff", "PLAN", "PLAN"),
    ("reproduce", "mosaic", "-o", "FOLDER/report"),
    ("cache", "dir"),
    ("npu", "list"),
)


def run(quick: bool) -> list[Row]:
    repeats = 3 if quick else 9
    with tempfile.TemporaryDirectory() as name:
        words = _files(Path(name))
        return list(_rows(words, repeats))


def _files(folder: Path) -> dict[str, str]:
    """Make what the commands read; their words by placeholder."""
    onnx.save(onnx.parser.parse_model(MODEL), folder / "small.onnx")
    bundle = api.compile(folder / "small.onnx", devices=["cpu"], effort="quick", request=Request(min_slice_count=2))
    return {
        "MODEL": str(folder / "small.onnx"),
        "BUNDLE": str(bundle.folder),
        "PROFILE": str(bundle.folder / "profile.json"),
        "PLAN": str(bundle.folder / "plan.json"),
        "FOLDER": str(folder),
    }


def _rows(words: dict[str, str], repeats: int) -> Iterator[Row]:
    yield _row("--help", ["--help"], HELP_BAR_S, repeats)
    yield _row("compile --help", ["compile", "--help"], HELP_BAR_S, repeats)
    for command in COMMANDS:
        given = list(command)
        for placeholder, word in words.items():
            given = [one.replace(placeholder, word) for one in given]
        yield _row(command[0], given, FIRST_LINE_BAR_S, repeats)


def _row(name: str, arguments: list[str], bar_s: float, repeats: int) -> Row:
    taken = [_first_line_s(arguments) for _ in range(repeats)]
    note = f"median of {repeats}, least {min(taken):.3f} s"
    return Row(f"{name}: first line", statistics.median(taken), "s", bar_s, note=note)


def _first_line_s(arguments: list[str]) -> float:
    """Return the seconds from the start of the process to its first line on stdout or stderr; then end it."""
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mosaic_onnx", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None  # it is a pipe
    process.stdout.readline()
    taken_s = time.perf_counter() - began_s
    process.kill()
    process.communicate()
    return taken_s
