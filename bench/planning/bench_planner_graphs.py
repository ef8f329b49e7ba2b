"""Planning graphs: bars on time, gap and memory. Each case is planned in a process of its own, whose memory counts."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from bench.peak import peak_bytes
from bench.report import Row
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve

OVERHEAD_S = 20e-6


@dataclass(frozen=True)
class Case:
    """One graph to plan."""

    name: str
    layers: int
    devices: int
    levels: int
    overhead_s: float
    request: Request
    bar_s: float | None
    chain: bool = False


CASES = (
    Case("1,000 operators, 2 states, exact", 1000, 2, 1, 0.0, Request(method="sequential"), 1.0),
    Case("1,000 operators, 4 devices", 1000, 4, 1, 0.0, Request(method="sequential"), 10.0),
    Case("1,000 operators, 4 devices, slice overheads", 1000, 4, 1, OVERHEAD_S, Request(method="sequential"), 10.0),
    Case("1,000 operators, 4 devices, EDP", 1000, 4, 1, 0.0, Request(objective="edp", method="sequential"), None),
    Case("10,000 operators, 25 states", 10_000, 5, 5, 0.0, Request(method="sequential"), None),
    Case(
        "chain, 60 layers, 25 states, energy under a deadline",
        60,
        5,
        5,
        OVERHEAD_S,
        Request(objective="energy", deadline_s=0.02, method="sequential"),
        None,
        chain=True,
    ),
)


@dataclass(frozen=True)
class Measured:
    """The time and the result of planning one case."""

    seconds: list[float]
    gap: float | None
    how: str
    memory_bytes: int


def run(quick: bool) -> list[Row]:
    rows = []
    for case in CASES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(measure, case, 1 if quick else 5).result()
        note = f"median of {len(found.seconds)}, {min(found.seconds):.2f}–{max(found.seconds):.2f} s"
        rows.append(Row(f"{case.name}: time", statistics.median(found.seconds), "s", bar=case.bar_s, note=note))
        gap = float("nan") if found.gap is None else 100 * found.gap
        exact = "exact" in case.name
        rows.append(Row(f"{case.name}: gap", gap, "%", bar=1e-4 if exact else None, note=f"bound: {found.how}"))
        rows.append(
            Row(f"{case.name}: memory", found.memory_bytes / 2**20, "MiB", bar=1024.0, note="peak, whole process")
        )
    return rows


def measure(case: Case, times: int) -> Measured:
    """Plan the case several times; runs in a process of its own."""
    table = cost_table(profile_of(case))
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        plan = solve(table, case.request).plan
        seconds.append(time.perf_counter() - begun)
    return Measured(seconds, plan.gap, "none" if plan.bound is None else plan.bound.method, peak_bytes())


def profile_of(case: Case) -> Profile:
    """Return a network of blocks (one to four branches, some residual links), or a chain; times around 100 µs."""
    rng = np.random.default_rng(case.layers + case.devices)
    devices = tuple(
        Device(
            f"d{index}",
            levels=tuple(Level(f"l{n}", 1e9) for n in range(case.levels)) if case.levels > 1 else (),
            slice_seconds=case.overhead_s,
            idle_w=0.1,
        )
        for index in range(case.devices)
    )
    inputs = (
        [("x",)] + [(f"t{index}",) for index in range(case.layers - 1)] if case.chain else branching(rng, case.layers)
    )
    read = {tensor for reads in inputs for tensor in reads}
    layers = tuple(
        ProfileLayer(f"n{index}", reads, (f"t{index}",), costs(rng, devices)) for index, reads in enumerate(inputs)
    )
    made = [f"t{index}" for index in range(case.layers)]
    tensors = {"x": 600_000} | {name: int(rng.integers(50_000, 800_000)) for name in made}
    copies = tuple(
        TransferCost(*ends, seconds_per_byte=1e-10, seconds=1e-5, joules_per_byte=1e-10, joules=1e-5)
        for device in devices[1:]
        for ends in (("host", device.name), (device.name, "host"))
    )
    outputs = tuple(name for name in made if name not in read)
    return Profile("bench", devices, tensors, ("x",), outputs, layers, copies=copies)


def costs(rng: np.random.Generator, devices: tuple[Device, ...]) -> dict[str, Cost | None]:
    """Return a layer's costs: devices suit different layers, higher levels are faster and draw more power."""
    work = float(rng.lognormal(np.log(2e-4), 0.8))
    found: dict[str, Cost | None] = {}
    for index, device in enumerate(devices):
        fondness = float(rng.lognormal(0.0, 0.7))
        able = index == 0 or rng.random() > 0.1
        for level, state in enumerate(device.states):
            speed = fondness * (1 + level / 2)
            found[state] = Cost(work / speed, work * (0.5 + speed)) if able else None
    return found


def branching(rng: np.random.Generator, count: int) -> list[tuple[str, ...]]:
    """Return the layers that each layer reads."""
    inputs: list[tuple[str, ...]] = [("x",)]
    while len(inputs) < count:
        root = f"t{len(inputs) - 1}"
        ends = [root] if rng.random() < 0.3 else []
        for _ in range(int(rng.integers(1, 5))):
            last = root
            for _ in range(int(rng.integers(1, 5))):
                inputs.append((last,))
                last = f"t{len(inputs) - 1}"
            ends.append(last)
        inputs.append(tuple(dict.fromkeys(ends)))
    return inputs[:count]
