"""Run every ``bench_*.py`` here (or those named on the command line), print a table, write JSON."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.report import Row


def modules(names: list[str]) -> list[str]:
    found = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    unknown = [name for name in names if f"bench_{name}" not in found]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(f[6:] for f in found)})")
    return [f"bench_{name}" for name in names] or found


def table_of(title: str, rows: list[Row]) -> Table:
    table = Table(title=title)
    for column in ("what", "value", "bar", "against", "ratio", "95 % interval", "met", "note"):
        table.add_column(column)
    for row in rows:
        interval = f"{row.interval[0]:.3f}–{row.interval[1]:.3f}" if row.interval else ""
        met = {None: "", True: "yes", False: "NO"}[row.met]
        bar = "" if row.bar is None else f"≤ {row.bar:g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        table.add_row(row.name, f"{row.value:.4g} {row.unit}", bar, row.against, ratio, interval, met, row.note)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: for a look, not for a figure")
    parser.add_argument("-o", "--output", type=Path, help="write the rows as JSON")
    options = parser.parse_args()
    console, results = Console(), {}
    for name in modules(options.names):
        rows = importlib.import_module(f"bench.{name}").run(options.quick)
        console.print(table_of(name.removeprefix("bench_"), rows))
        results[name] = [dataclasses.asdict(row) | {"met": row.met} for row in rows]
    if options.output:
        options.output.write_text(json.dumps({"schema": "mosaic-onnx/bench/1", "results": results}, indent=1))
    return 1 if any(row["met"] is False for rows in results.values() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
