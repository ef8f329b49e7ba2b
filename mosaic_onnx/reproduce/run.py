"""Evaluate MOSAIC and write the report: ``mosaic-onnx reproduce mosaic``."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.reproduce.agreement import share, written
from mosaic_onnx.reproduce.findings import FULL, QUICK, Findings, Governed, find
from mosaic_onnx.reproduce.text import report_text
from mosaic_onnx.reproduce.verdicts import RESNET, Verdict, verdicts


@dataclass(frozen=True)
class Report:
    """The report of a reproduction.

    Attributes:
        folder: its folder.
        files: names of the files in it.
        verdicts: every bar and whether it is met.
        findings: the results.
        notes: what is missing, with the reasons.
    """

    folder: Path
    files: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    findings: Findings
    notes: tuple[str, ...] = ()

    def as_fields(self) -> dict[str, object]:
        """Return the results as JSON values: files, verdicts, reductions in per cent, shares of layers."""
        found = self.findings
        governed: tuple[Governed, ...] = ("latency", "energy")
        return {
            "files": list(self.files),
            "notes": list(self.notes),
            "verdicts": [asdict(each) for each in self.verdicts],
            "reductions_fitted": {objective: list(found.reductions(objective, large=True)) for objective in governed},
            "reductions_predicted": {
                objective: list(found.reductions(objective, large=False)) for objective in governed
            },
            "table_iii_share": share(found.table_iii),
            "table_iii_share_without_resnet": share(found.table_iii, RESNET),
            "table_iii_share_trivial": share(found.table_iii_trivial),
            "table_iv_share": share(found.table_iv),
        }


def reproduce(output_folder: str | os.PathLike[str], quick: bool = False) -> Report:
    """Evaluate MOSAIC on the simulated HiKey 970 and write tables, plots and ``report.md``.

    Files of an earlier report in the folder are replaced. Plots need matplotlib (extra ``report``); the report
    notes if they are left out.

    Args:
        output_folder: the folder; created if it is missing.
        quick: five workloads, few random plans, two calibrations, no plots.

    Raises:
        UsageError: the folder cannot be created or written.
    """
    folder = _folder(output_folder)
    found = find(QUICK if quick else FULL)
    judged = verdicts(found)
    plots, missing = ((), "reduced run") if quick else _draw(found, folder)
    texts = {
        "report.md": report_text(found, judged, plots, missing),
        "outcomes.csv": outcomes_csv(found),
        "verdicts.json": json.dumps([asdict(each) for each in judged], indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    return Report(folder, (*texts, *plots), judged, found, (f"no plots: {missing}",) if missing else ())


def outcomes_csv(found: Findings) -> str:
    """Return the CSV text of all outcomes: one line per version, workload and objective."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("workload", "objective", "version", "seconds", "joules", "slices", "plan"))
    for outcome in found.outcomes.by_key.values():
        plan = written(outcome.plan, levels=True)
        row = (outcome.workload, outcome.objective, outcome.version, outcome.seconds, outcome.joules)
        table.writerow((*row, len(outcome.plan.slices), plan))
    return text.getvalue()


def _folder(output_folder: str | os.PathLike[str]) -> Path:
    folder = Path(output_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def _draw(found: Findings, folder: Path) -> tuple[tuple[str, ...], str]:
    """Draw the plots; return their names, and the reason if there are none."""
    from mosaic_onnx.reproduce.figures import draw_all

    try:
        return tuple(path.name for path in draw_all(found, folder)), ""
    except ImportError:
        return (), "matplotlib is not installed: pip install 'mosaic-onnx[report]'"
