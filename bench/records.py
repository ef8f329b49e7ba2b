"""Figures that took long to measure, kept in a file of JSON lines, so that an interrupted benchmark goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("MOSAIC_BENCH_RECORDS", ".bench"))
"""The folder of records; delete it to measure anew."""


@dataclass(frozen=True)
class Records:
    """The records of one benchmark: a line of JSON each, of which the last with a key counts.

    Attributes:
        file: where they are.
    """

    file: Path

    @classmethod
    def of(cls, benchmark: str, *, quick: bool) -> Records:
        """Return the records of a benchmark; those of a quick run are kept apart."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        return cls(FOLDER / f"{benchmark}{'.quick' if quick else ''}.jsonl")

    def known(self) -> dict[str, Mapping[str, Any]]:
        """Return what was measured, by key; a line that was cut off in writing is left out."""
        found: dict[str, Mapping[str, Any]] = {}
        for line in self.file.read_text("utf-8").splitlines() if self.file.is_file() else ():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[entry["key"]] = entry["figures"]
        return found

    def once(self, key: str, measure: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the figures under a key; measured and kept where there are none."""
        known = self.known()
        if key in known:
            return known[key]
        figures = measure()
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "figures": figures}) + "\n")
        return figures
