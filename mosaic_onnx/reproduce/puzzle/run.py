"""``mosaic-onnx reproduce puzzle``: draw scenarios, schedule them, write the report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.reproduce.puzzle.compare import Outcome, compare, geometric_mean
from mosaic_onnx.reproduce.puzzle.random_scenarios import profiles_of, random_scenario
from mosaic_onnx.reproduce.puzzle.report import draw, report_text
from mosaic_onnx.reproduce.workloads import highest_only

BOARD = "hikey970"
_SCENARIOS, _TIME_LIMIT_S = 10, 60.0
_REDUCED_SCENARIOS, _REDUCED_TIME_LIMIT_S = 2, 3.0


@dataclass(frozen=True)
class Measured:
    """The networks' costs.

    Attributes:
        place: whose devices they are of.
        profiles: of every network, by name, all of the same devices.
        is_described: they come from a description; nothing was measured.
    """

    place: str
    profiles: Mapping[str, Profile]
    is_described: bool = False

    @property
    def words(self) -> str:
        """Return where the figures come from, in one sentence."""
        source = "its description, nothing here was measured on a board" if self.is_described else "measurements"
        return f"The networks' costs on {self.place} come from {source}; schedules from a discrete-event simulation."


@dataclass(frozen=True)
class PuzzleReport:
    """The report of a reproduction.

    Attributes:
        folder: where.
        files: names in it.
        outcomes: every scenario.
        place: whose devices the profiles are of.
        notes: what is missing, and why.
    """

    folder: Path
    files: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    place: str = BOARD
    notes: tuple[str, ...] = ()

    def as_fields(self) -> dict[str, object]:
        """Return the figures for JSON."""
        rivals = dict.fromkeys(name for one in self.outcomes for name in one.multipliers)
        ratios = {name: [one.ratio(name) for one in self.outcomes if name in one.multipliers] for name in rivals}
        return {
            "files": list(self.files),
            "notes": list(self.notes),
            "board": self.place,
            "scenarios": [asdict(one) | {"gap": one.gap} for one in self.outcomes],
            "ratios": {name: asdict(geometric_mean(row)) for name, row in ratios.items()},
        }


def reproduce_puzzle(
    output_folder: str | os.PathLike[str],
    *,
    reduced: bool = False,
    seed: int = 0,
    measured: Measured | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> PuzzleReport:
    """Compare all schedulers on random scenarios of nine networks, on the simulated HiKey 970 or on measured devices.

    Schedules are simulated in any case. The board's devices run at their highest levels, since time alone is judged.
    Plots need matplotlib (extra ``report``).

    Args:
        output_folder: made if it is missing; files of an earlier report in it are replaced.
        reduced: two scenarios, a few seconds each, for a look.
        seed: of scenarios and search.
        measured: profiles of the networks on real devices; None for those of the described board.
        note: called when a scenario is done.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    folder = Path(output_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    measured = measured or Measured(BOARD, profiles_of(highest_only(read_shipped(BOARD))), is_described=True)
    count, time_limit_s = (_REDUCED_SCENARIOS, _REDUCED_TIME_LIMIT_S) if reduced else (_SCENARIOS, _TIME_LIMIT_S)
    scenarios = [random_scenario(measured.profiles, number, seed) for number in range(count)]
    outcomes = compare(scenarios, time_limit_s, seed, note)
    plots, notes = _plots(outcomes, folder)
    report = PuzzleReport(folder, ("report.md", "outcomes.json", *plots), outcomes, measured.place, notes)
    text = report_text(outcomes, measured.words, seed, time_limit_s, plots)
    write_atomically(folder / "report.md", text.encode())
    write_atomically(folder / "outcomes.json", (json.dumps(report.as_fields(), indent=1) + "\n").encode())
    return report


def _plots(outcomes: tuple[Outcome, ...], folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names of the plots, and why there are none."""
    try:
        return (draw(outcomes, folder),), ()
    except ImportError:
        return (), ("no plots: matplotlib is not installed: pip install 'mosaic-onnx[report]'",)
