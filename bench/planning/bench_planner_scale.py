"""Planning at 100 … 50,000 layers on four devices, with and without memory caps: wall time, gap, peak memory.

Every case is planned in a process of its own under one time limit. The bar is the limit and a tenth more. Cases that
were measured are kept in the file that ``MOSAIC_BENCH_SCALE`` names, so that a run that was stopped goes on from there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from bench.peak import peak_bytes
from bench.planning.bench_planner_graphs import OVERHEAD_S, Case, profile_of
from bench.report import Row
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.core.simulate import value
from mosaic_onnx.planner.solve import solve

LIMIT_S = 10.0
LAYERS = (100, 1_000, 10_000, 50_000)
CAP_SHARE = 0.35
"""Of all parameters, what each of the four devices holds where memory is capped."""
REQUESTS = {
    "sequential": Request(time_limit_s=LIMIT_S),
    "concurrent": Request(schedule="concurrent", time_limit_s=LIMIT_S),
    "throughput": Request(objective="throughput", time_limit_s=LIMIT_S),
}
GAP_BARS = {(1_000, "sequential", True): 10.0, (10_000, "sequential", True): 25.0}
"""(layers, request, with caps) -> per cent"""


@dataclass(frozen=True)
class Measured:
    """The time and the result of planning one case; ``figure`` is inf where no plan was found."""

    wall_s: float
    cpu_s: float
    figure: float
    gap: float | None
    how: str
    memory_bytes: int


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for layers in LAYERS[: 2 if quick else None]:
        for capped in (False, True):
            found = {name: measured_once(layers, capped, name) for name in REQUESTS}
            for name, measured in found.items():
                rows += rows_of(layers, name, capped, measured)
            ratio = found["concurrent"].figure / found["sequential"].figure
            title = f"{layers} layers{', caps' if capped else ''}: concurrent / sequential plan"
            rows.append(Row(title, ratio, "ratio", bar=1.0 + 1e-9))
    return rows


def rows_of(layers: int, name: str, capped: bool, found: Measured) -> list[Row]:
    title = f"{layers} layers, {name}{', caps' if capped else ''}"
    note = f"CPU {found.cpu_s:.1f} s; load of the machine {os.getloadavg()[0]:.1f}"
    gap = float("nan") if found.gap is None else 100 * found.gap
    return [
        Row(f"{title}: wall", found.wall_s, "s", bar=1.1 * LIMIT_S, note=note),
        Row(f"{title}: gap", gap, "%", bar=GAP_BARS.get((layers, name, capped)), note=f"bound: {found.how}"),
        Row(f"{title}: plan", found.figure, "s"),
        Row(f"{title}: memory", found.memory_bytes / 2**20, "MiB", note="peak, whole process"),
    ]


def measured_once(layers: int, capped: bool, name: str) -> Measured:
    """Return what the file of measured cases says, or measure the case and add it to the file."""
    path = os.environ.get("MOSAIC_BENCH_SCALE")
    if path is None:
        return in_own_process(layers, capped, REQUESTS[name])
    file, key = Path(path), f"{layers} {name} {'caps' if capped else 'free'}"
    known = json.loads(file.read_text()) if file.exists() else {}
    if key not in known:
        known[key] = asdict(in_own_process(layers, capped, REQUESTS[name]))
        file.write_text(json.dumps(known, indent=1))
    return Measured(**known[key])


def in_own_process(layers: int, capped: bool, request: Request) -> Measured:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, layers, capped, request).result()


def measure(layers: int, capped: bool, request: Request) -> Measured:
    """Plan one case; runs in a process of its own."""
    table = table_of(layers, capped)
    began, cpu = time.perf_counter(), time.process_time()
    try:
        solution = solve(table, request)
    except MosaicError as error:
        return Measured(
            time.perf_counter() - began, time.process_time() - cpu, np.inf, None, error.message, peak_bytes()
        )
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    plan, figure = solution.plan, value(solution.timeline, request.objective)
    return Measured(wall_s, cpu_s, figure, plan.gap, plan.bound.method if plan.bound else "none", peak_bytes())


def table_of(layers: int, capped: bool) -> CostTable:
    """A network of blocks on four devices; parameters of 10 kB to 1 MB a layer."""
    table = cost_table(profile_of(Case("scale", layers, 4, 1, OVERHEAD_S, Request(), None)))
    rng = np.random.default_rng(layers)
    weights = rng.integers(10_000, 1_000_000, layers)
    parameters = np.repeat(weights[:, None], len(table.state_names), axis=1)
    cap = CAP_SHARE * float(weights.sum()) if capped else np.inf
    return replace(table, parameter_bytes=parameters, memory_bytes=np.full(len(table.device_names), cap))
