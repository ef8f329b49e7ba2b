"""The interval program against the paper's bars and a compiled Algorithm 1, timed in turns in the same run.

Both get the same numbers: execution per layer and state, copies in and out per layer and state, parameter bytes.
Algorithm 1 is the paper's O(Λ²·|D|) in C, compiled here; its slices cost Σ execution + first inputs + last outputs.
"""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.report import Row
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.planner.chain.chain_costs import ChainCosts, chain_costs
from mosaic_onnx.planner.chain.dynamic_program import best_on_chain
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.core.simulate import simulate

ALGORITHM_1 = r"""
#include <math.h>
#include <stdlib.h>
/* MOSAIC Algorithm 1: execution[l][s], in[l][s], out[l][s], bytes[l], cap[s]; best[l], from[l], state[l] are filled. */
double plan(int layers, int states, const double *execution, const double *in, const double *out,
            const double *bytes, const double *cap, double *best, int *from, int *state) {
  best[0] = 0;
  for (int l = 1; l <= layers; l++) {
    best[l] = INFINITY;
    for (int s = 0; s < states; s++) {
      double run = 0, size = 0;
      for (int k = l - 1; k >= 0; k--) {
        run += execution[k * states + s];
        size += bytes[k];
        if (size > cap[s] || isinf(run)) break;
        double cost = best[k] + run + in[k * states + s] + out[(l - 1) * states + s];
        if (cost < best[l]) { best[l] = cost; from[l] = k; state[l] = s; }
      }
    }
  }
  return best[layers];
}
"""
BARS = (
    (20, 4, 0.15, "the paper's 0.15 ms"),
    (20, 25, 0.82, "the paper's 0.82 ms"),
    (60, 25, 1.0, "1 ms"),
    (10_000, 25, 1000.0, "1 s"),
)
"""(layers, states, ms, in words)"""


def run(quick: bool) -> list[Row]:
    compiled, why_not = compile_algorithm_1()
    rows: list[Row] = []
    for layers, states, bar_ms, bar_words in BARS:
        rows += rows_for(layers, states, bar_ms, bar_words, compiled, why_not, quick)
    return rows


def rows_for(
    layers: int, states: int, bar_ms: float, bar_words: str, compiled: ctypes.CDLL | None, why_not: str, quick: bool
) -> list[Row]:
    table = cost_table(hikey_like(layers, states))
    costs = chain_costs(table, weigh(table, LATENCY), range(layers))
    size = f"Λ={layers}, {states} states"
    rounds = max(3, int((50 if quick else 400) * min(1.0, 100 / layers)))
    work: dict[str, Callable[[], object]] = {
        "program": lambda: best_on_chain(costs),
        "method": lambda: interval(table, Request()),
    }
    if compiled is not None:
        work["C"] = algorithm_1_call(compiled, table, costs)
    times = in_turns(work, rounds)
    ours = statistics.median(times["program"])
    rows = [Row(f"interval program, {size}", ours, "ms", bar_ms, bar_words, note=spread(times["program"]))]
    note = "with weighing costs, windows of caps and one simulation: " + spread(times["method"])
    rows.append(Row(f"interval method, {size}", statistics.median(times["method"]), "ms", note=note))
    if compiled is not None:
        theirs = statistics.median(times["C"])
        against = f"interval program / compiled Algorithm 1 ({theirs:.4g} ms)"
        rows.append(
            Row(f"compiled Algorithm 1, {size}", theirs, "ms", None, against, ours / theirs, note=spread(times["C"]))
        )
    else:
        rows.append(Row(f"compiled Algorithm 1, {size}", float("nan"), "ms", note=f"skipped: {why_not}"))
    plan = best_on_chain(costs)[1]
    simulated = in_turns({"simulate": lambda: simulate(table, plan)}, max(3, rounds // 4))["simulate"]
    rows.append(
        Row(f"simulator, {size}", statistics.median(simulated), "ms", note=f"{len(plan)} slices; {spread(simulated)}")
    )
    return rows


def in_turns(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each, run in turn in every round, so that other load affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            if number:  # the first round warms up
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def spread(times: list[float]) -> str:
    ordered = sorted(times)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return f"{len(times)} rounds, 10–90 %: {low:.4g}–{high:.4g}"


def compile_algorithm_1() -> tuple[ctypes.CDLL | None, str]:
    """Return the compiled program, or the reason why there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None, "no C compiler (cc) on this machine"
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "algorithm1.c", Path(folder) / "algorithm1.so"
        source.write_text(ALGORITHM_1)
        command = [compiler, "-O3", "-shared", "-fPIC", "-o", str(library), str(source), "-lm"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            return None, f"cc failed: {made.stderr.strip()[:200]}"
        compiled = ctypes.CDLL(str(library))
    compiled.plan.restype = ctypes.c_double
    return compiled, ""


def algorithm_1_call(compiled: ctypes.CDLL, table: CostTable, costs: ChainCosts) -> Callable[[], float]:
    layers, states = table.layer_s.shape

    def doubles(values: object) -> np.ndarray:
        return np.ascontiguousarray(values, dtype=np.float64)

    execution, into, out = doubles(costs.node), doubles(costs.entering), doubles(costs.leaving)
    size, cap = doubles(table.parameter_bytes[:, 0]), doubles(table.slice_memory_bytes[table.state_device])
    best, origin, state = np.empty(layers + 1), np.empty(layers + 1, np.int32), np.empty(layers + 1, np.int32)
    arrays = (execution, into, out, size, cap, best, origin, state)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]

    def call() -> float:
        return float(compiled.plan(layers, states, *pointers))

    call.arrays = arrays  # type: ignore[attr-defined]  # they must outlive the pointers
    return call


def hikey_like(layers: int, states: int, seed: int = 0) -> Profile:
    """Return a chain over big and little cores, a GPU and an NPU that takes 100 MB a slice; random costs."""
    draw = np.random.default_rng(seed)
    counts = {"big": 9, "little": 7, "gpu": 8} if states == 25 else {"big": 0, "little": 0, "gpu": 0}
    devices = [Device(name, levels=tuple(Level(f"l{n}") for n in range(count))) for name, count in counts.items()]
    devices.append(Device("npu", io="host", slice_memory_bytes=100_000_000, activation_memory="sum"))
    names = [state for device in devices for state in device.states]
    tensors = [f"t{n}" for n in range(layers + 1)]
    made = [
        ProfileLayer(
            f"layer{n}",
            (tensors[n],),
            (tensors[n + 1],),
            {state: Cost(*map(float, draw.uniform(1e-3, 1e-2, 2))) for state in names},
            parameter_bytes=int(draw.integers(0, 4 * 10**7)),
        )
        for n in range(layers)
    ]
    copies = [
        TransferCost(source, destination, 1e-9, 2e-4, 1e-9, 1e-4)
        for device in ("gpu", "npu")
        for source, destination in (("host", device), (device, "host"))
    ]
    sizes = {tensor: int(draw.integers(10**5, 4 * 10**6)) for tensor in tensors}
    return Profile("bench", tuple(devices), sizes, (tensors[0],), (tensors[-1],), tuple(made), tuple(copies))
