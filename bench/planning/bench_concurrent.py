"""Concurrent plans against sequential ones and against the bound; pipelines against published optima.

The branchy graph is made here: modules of parallel rows of layers, two devices of about equal speed with a spread of
their ratio from layer to layer (as CPU and GPU of phones have), copies that cost about a tenth of a layer.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from bench.report import Row
from bench.workloads import SHARED
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.importers import import_profile
from mosaic_onnx.planner.concurrent.bound import concurrent_bound
from mosaic_onnx.planner.concurrent.cpsat_method import concurrent_cpsat
from mosaic_onnx.planner.concurrent.list_scheduling import Lister
from mosaic_onnx.planner.concurrent.method import heft
from mosaic_onnx.planner.concurrent.tasks import single_tasks
from mosaic_onnx.planner.core.ortools import available
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.sequential.method import sequential
from mosaic_onnx.planner.throughput.pipeline import one_slice_per_device

PUBLISHED_MS = {
    "LayerGraphs/bert24_inference": 17.790,
    "LayerGraphs/resnet50_inference": 33.775,
    "LayerGraphs/inceptionv3_inference": 51.552,
    "LayerGraphs/gnmt_inference": 32.911,
    "OperatorGraphs/bert_l-3_inference": 27.919,
    "OperatorGraphs/bert_l-6_inference": 29.580,
    "OperatorGraphs/bert_l-12_inference": 147.478,
    "OperatorGraphs/resnet50_inference": 124.349,
}
"""Exact values published with the workloads; for inceptionv3 the best value known there, which nobody had proved."""


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for layers in (100, 300) if quick else (100, 300, 1000):
        rows += side_by_side(layers, 2.0 if quick else 10.0)
    return rows + pipelines(1 if quick else 5)


def side_by_side(layers: int, limit_s: float) -> list[Row]:
    """Return rows of sequential plans against concurrent ones."""
    table = cost_table(branchy(layers))
    one_by_one_s = best(table, sequential(table, Request(time_limit_s=limit_s)), Request())
    asked = Request(schedule="concurrent", time_limit_s=limit_s)
    bound_s, how = concurrent_bound(table)
    tasks = single_tasks(table)
    lister = Lister(table, tasks)
    began = time.perf_counter()
    listed_s = lister.schedule(lister.heft_priority()).seconds
    listed_ms = (time.perf_counter() - began) * 1e3
    rows = [
        Row(f"plain HEFT, {layers} layers", listed_ms, "ms", note="one run"),
        ratio_row(f"plain HEFT, {layers} layers", listed_s, one_by_one_s, bound_s, how, ""),
    ]
    methods = {"improved": heft, "with CP-SAT": concurrent_cpsat} if available() else {"improved": heft}
    for name, method in methods.items():
        began = time.perf_counter()
        answer = method(table, asked)
        found_s = best(table, answer, asked)
        note = f"{time.perf_counter() - began:.1f} s of at most {limit_s:g} s"
        proved_s, words = (bound_s, how) if answer.bound is None else (answer.bound, answer.bound_method)
        rows.append(ratio_row(f"{name}, {layers} layers", found_s, one_by_one_s, proved_s, words, note))
    return rows


def ratio_row(name: str, found_s: float, one_by_one_s: float, bound_s: float, how: str, note: str) -> Row:
    """Return the ratio of the makespan to the best sequential plan's seconds."""
    words = f"{found_s / bound_s - 1:.1%} above the bound ({how})"
    return Row(
        f"makespan, {name}",
        found_s / one_by_one_s,
        "× sequential",
        bar=1.0,
        against="best sequential plan",
        note=f"{words}; {note}" if note else words,
    )


def pipelines(rounds: int) -> list[Row]:
    """Return rows of published workloads with one slice per device: load over the published one, time to prove it."""
    rows = []
    request = Request(objective="throughput", one_slice_per_device=True, time_limit_s=60.0)
    for name, published_ms in PUBLISHED_MS.items():
        file = SHARED / "benchmarks" / "dnn-partitioning" / "throughput-inputs" / f"{name}.json"
        if not file.is_file():
            return [Row("pipelines", 0.0, "", note="published workloads are absent: set MOSAIC_SHARED")]
        table = cost_table(import_profile("dnn-partitioning", file))
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            answer = one_slice_per_device(table, request)
            times.append(time.perf_counter() - began)
        found_ms = best(table, answer, request) * 1e3
        gap = found_ms / (answer.bound * 1e3) - 1 if answer.bound else float("inf")
        note = f"{found_ms:.3f} ms, gap {gap:.1e}, {answer.bound_method}; proved in {statistics.median(times):.2f} s"
        against = f"published {published_ms} ms"
        rows.append(Row(f"largest load, {name}", found_ms / published_ms, "× published", 1.001, against, note=note))
    return rows


def best(table: CostTable, answer: Answer, request: Request) -> float:
    """Return the simulated timeline of the best proposal."""
    return min(value(simulate(table, plan, request.schedule), request.objective) for plan in answer.proposals)


def branchy(layers: int) -> Profile:
    """Return modules of four parallel rows of 1, 2, 3 and 4 layers, joined by one layer."""
    rng = np.random.default_rng(layers)
    made: list[ProfileLayer] = []
    source = "x"

    def add(inputs: tuple[str, ...]) -> str:
        tensor = f"t{len(made)}"
        work = float(rng.lognormal(-7, 0.6))
        cost = {
            "cpu": Cost(1.3 * work * float(rng.lognormal(0, 0.5))),
            "gpu": Cost(work * float(rng.lognormal(0, 0.5))),
        }
        if rng.random() < 0.05:
            del cost["gpu"]
        made.append(ProfileLayer(f"layer{len(made)}", inputs, (tensor,), cost))
        return tensor

    while len(made) < layers:
        ends = []
        for length in (1, 2, 3, 4):
            end = source
            for _ in range(length):
                end = add((end,))
            ends.append(end)
        source = add(tuple(ends))
    copies = (TransferCost("host", "gpu", seconds=1e-4), TransferCost("gpu", "host", seconds=1e-4))
    tensors = {"x": 1, **{tensor: 1 for layer in made for tensor in layer.outputs}}
    return Profile("branchy", (Device("cpu"), Device("gpu")), tensors, ("x",), (source,), tuple(made), copies)
