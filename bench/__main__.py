"""Run every ``bench_*.py`` of these folders (or those named on the command line), print a table, write JSON."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.report import COLUMNS, Row


def find(names: list[str]) -> dict[str, str]:
    """Return {benchmark: its module} of the benchmarks named; of all where none is named."""
    folder = Path(__file__).parent
    found = {path.stem.removeprefix("bench_"): path for path in sorted(folder.rglob("bench_*.py"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(found)})")
    return {
        name: ".".join(["bench", *found[name].relative_to(folder).with_suffix("").parts]) for name in names or found
    }


def table_of(title: str, rows: list[Row]) -> Table:
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column)
    for row in rows:
        table.add_row(*row.cells())
    return table


def markdown_of(title: str, rows: list[Row]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    cells = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return f"### {title}\n\n{cells}\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: for a look, not for a figure")
    parser.add_argument("-o", "--output", type=Path, help="write the rows as JSON")
    parser.add_argument("--markdown", type=Path, help="write the tables as Markdown")
    options = parser.parse_args()
    console, results, tables = Console(), {}, []
    for name, module in find(options.names).items():
        rows = importlib.import_module(module).run(options.quick)
        console.print(table_of(name, rows))
        tables.append(markdown_of(name, rows))
        results[name] = [dataclasses.asdict(row) | {"met": row.met} for row in rows]
    if options.output:
        options.output.write_text(json.dumps({"schema": "mosaic-onnx/bench/1", "results": results}, indent=1))
    if options.markdown:
        options.markdown.write_text("\n".join(tables))
    return 1 if any(row["met"] is False for rows in results.values() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
