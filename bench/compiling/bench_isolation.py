"""The cost of isolation: compilations with devices in processes of their own, and in the compiling process, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.compiling.isolation_child import IN_PROCESS, ISOLATED
from bench.report import Row
from bench.workloads import absent, classic

BAR = 1.05
PAIRS = 3
LIMIT_S = 300.0


def run(quick: bool) -> list[Row]:
    """Return the ratio of the wall clocks for each effort, ``quick`` with a small model and one pair."""
    if absent():
        return [Row("cost of isolation", float("nan"), "ratio", note=absent())]
    with tempfile.TemporaryDirectory() as name:
        (model,) = classic(("squeezenet",) if quick else ("resnet50",), Path(name))
        efforts = ("quick",) if quick else ("quick", "normal")
        return [_ratio(model.name, model.path, Path(name), effort, 1 if quick else PAIRS) for effort in efforts]


def _ratio(name: str, model: Path, folder: Path, effort: str, pair_count: int) -> Row:
    figures: dict[str, list[dict[str, Any]]] = {ISOLATED: [], IN_PROCESS: []}
    for _ in range(pair_count):
        for mode, taken in figures.items():
            taken.append(_compiled(model, folder / "out.mosaic", effort, mode))
    wall_s = {mode: float(np.median([one["wall_s"] for one in taken])) for mode, taken in figures.items()}
    ratio = wall_s[ISOLATED] / wall_s[IN_PROCESS]
    pairs = [one["wall_s"] / other["wall_s"] for one, other in zip(figures[ISOLATED], figures[IN_PROCESS], strict=True)]
    words = "; ".join(f"{mode}: {wall_s[mode]:.1f} s, CPU {_cpu_words(taken)}" for mode, taken in figures.items())
    return Row(
        f"{name}: cost of isolation, --effort {effort}",
        ratio,
        "ratio",
        BAR,
        IN_PROCESS,
        ratio,
        note=f"{words}; pairs {min(pairs):.3f} to {max(pairs):.3f}",
    )


def _cpu_words(taken: list[dict[str, Any]]) -> str:
    own, children = (np.median([one[key] for one in taken]) for key in ("own_cpu_s", "children_cpu_s"))
    return f"{own:.1f} s + {children:.1f} s of children"


def _compiled(model: Path, target: Path, effort: str, mode: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.compiling.isolation_child", str(model), str(target), effort, mode]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures
