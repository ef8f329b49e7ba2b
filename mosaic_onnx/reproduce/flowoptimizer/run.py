"""``mosaic-onnx reproduce flowoptimizer``: search every operator, write the report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.reproduce.flowoptimizer.compare import (
    DATAFLOWS,
    HARDWARE,
    OBJECTIVES,
    Comparison,
    compare,
    gain,
    genetic_distance,
)
from mosaic_onnx.reproduce.flowoptimizer.operators import every_operator
from mosaic_onnx.reproduce.flowoptimizer.report import PUBLISHED, draw, report_text

_SEEDS, _REDUCED_SEEDS = 20, 3


@dataclass(frozen=True)
class FlowOptimizerReport:
    """The report of a reproduction.

    Attributes:
        folder: where.
        files: names in it.
        comparisons: every operator.
        notes: what is missing, and why.
    """

    folder: Path
    files: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def as_fields(self) -> dict[str, object]:
        """Return the figures for JSON; an infinite distance is null."""
        middle, mean, worst, runs = genetic_distance(self.comparisons)
        return {
            "files": list(self.files),
            "notes": list(self.notes),
            "simulated": True,
            "hardware": HARDWARE,
            "gains": {
                dataflow: {objective: asdict(gain(self.comparisons, objective, dataflow)) for objective in OBJECTIVES}
                for dataflow in DATAFLOWS
            },
            "published_of_searched_models": PUBLISHED,
            "genetic": {"median": middle, "mean_of_medians": mean, "worst": _finite(worst), "runs": runs},
            "operators": [
                {
                    "name": one.operator.name,
                    "figures": one.figures,
                    "gap": one.gap,
                    "genetic": [_finite(each) for each in one.genetic],
                }
                for one in self.comparisons
            ],
        }


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def reproduce_flowoptimizer(
    output_folder: str | os.PathLike[str],
    *,
    reduced: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> FlowOptimizerReport:
    """Compare the best dataflow of every operator with fixed ones and with the genetic search.

    Plots need matplotlib (extra ``report``).

    Args:
        output_folder: made if it is missing; files of an earlier report in it are replaced.
        reduced: few operators and seeds, for a look.
        note: called when an operator is done.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    folder = Path(output_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    comparisons = compare(every_operator(reduced=reduced), _REDUCED_SEEDS if reduced else _SEEDS, note=note)
    plots, notes = _plots(comparisons, folder)
    report = FlowOptimizerReport(folder, ("report.md", "operators.json", *plots), comparisons, notes)
    write_atomically(folder / "report.md", report_text(comparisons, plots).encode())
    write_atomically(folder / "operators.json", (json.dumps(report.as_fields(), indent=1) + "\n").encode())
    return report


def _plots(comparisons: tuple[Comparison, ...], folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names of the plots, and why there are none."""
    try:
        return draw(comparisons, folder), ()
    except ImportError:
        return (), ("no plots: matplotlib is not installed: pip install 'mosaic-onnx[report]'",)
