"""Every operator in three fixed dataflows, in its best one, and by the published genetic search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.core.process.worker_pool import worker_pool
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.search.dataflow import BEST, GENETIC, best_dataflow
from mosaic_onnx.reproduce.flowoptimizer.operators import Operator

HARDWARE = "flowoptimizer-168"
DATAFLOWS = ("nvdla", "eyeriss", "shidiannao")
OBJECTIVES: tuple[Objective, ...] = ("latency", "energy", "edp")
UNITS: Mapping[Objective, str] = {"latency": "s", "energy": "J", "edp": "J·s"}


@dataclass(frozen=True)
class Comparison:
    """One operator.

    Attributes:
        operator: the convolution.
        figures: by objective and dataflow (``best`` among them): seconds, joules, or their product.
        gap: largest gap of the exact searches' certificates; 0 where all are proved optima.
        genetic: latency of the genetic search over the optimum, a seed each; infinite where it found no mapping that
            fits; empty where it was not run.
    """

    operator: Operator
    figures: Mapping[Objective, Mapping[str, float]]
    gap: float
    genetic: tuple[float, ...] = ()

    def reduction(self, objective: Objective, dataflow: str) -> float:
        """Return by what share the best dataflow lowers the figure of a fixed one."""
        row = self.figures[objective]
        return 1 - row[BEST] / row[dataflow]


@dataclass(frozen=True)
class Gain:
    """The gain over a fixed dataflow, over all operators.

    Attributes:
        mean: reduction, averaged over operators.
        total: reduction of the sum over operators.
        largest: of one operator.
    """

    mean: float
    total: float
    largest: float


def compare(
    operators: Sequence[Operator],
    seed_count: int,
    worker_count: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Comparison, ...]:
    """Search all operators on all cores; the result does not depend on their number.

    Args:
        operators: the convolutions.
        seed_count: runs of the genetic search, for 1 × 1 and 3 × 3 filters.
        worker_count: processes; None for one a core.
        note: called when an operator is done.
    """
    count = worker_count or len(usable_cores())
    found = []
    with worker_pool(min(count, len(operators))) as pool:
        for one in pool.map(partial(compare_operator, seed_count=seed_count), operators):
            found.append(one)
            note(f"{len(found)} of {len(operators)}: {one.operator.name}")
    return tuple(found)


def compare_operator(operator: Operator, seed_count: int) -> Comparison:
    """Return one operator's figures; nothing is taken from the cache, so that the time is the search's own."""
    hardware, nest = load_hardware(HARDWARE), operator.nest
    figures: dict[Objective, dict[str, float]] = {}
    gaps = []
    for objective in OBJECTIVES:
        row = figures[objective] = {}
        for dataflow in (*DATAFLOWS, BEST):
            found = best_dataflow(nest, hardware, objective, dataflow)
            seconds = found.cost.cycles / hardware.clock_hz
            by_objective = {"latency": seconds, "energy": found.cost.joules, "edp": seconds * found.cost.joules}
            row[dataflow] = by_objective[objective]
            gaps.append(found.certificate.gap or 0.0)
    with_genetic = operator.taps <= 3
    best_cycles = figures["latency"][BEST] * hardware.clock_hz
    genetic = [_genetic_cycles(operator, seed) / best_cycles for seed in range(seed_count if with_genetic else 0)]
    return Comparison(operator, figures, max(gaps), tuple(genetic))


def _genetic_cycles(operator: Operator, seed: int) -> float:
    try:
        return best_dataflow(operator.nest, load_hardware(HARDWARE), "latency", GENETIC, seed=seed).cost.cycles
    except InfeasibleError:
        return float("inf")


def gain(comparisons: Sequence[Comparison], objective: Objective, dataflow: str) -> Gain:
    """Return the best dataflows' gain over a fixed one."""
    each = [one.reduction(objective, dataflow) for one in comparisons]
    best = sum(one.figures[objective][BEST] for one in comparisons)
    fixed = sum(one.figures[objective][dataflow] for one in comparisons)
    return Gain(fmean(each), 1 - best / fixed, max(each))


def genetic_distance(comparisons: Sequence[Comparison]) -> tuple[float, float, float, int]:
    """Return the genetic search's latency over the optimum: median, mean of operators' medians, worst, runs."""
    every = [ratio for one in comparisons for ratio in one.genetic]
    medians = [median(one.genetic) for one in comparisons if one.genetic]
    return median(every), fmean(medians), max(every), len(every)
