"""The methods by name. To add one: a module with a function of (table, request) to ``Answer``, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.text.suggestions import did_you_mean
from mosaic_onnx.planner.baselines.ablations import hca, hcca
from mosaic_onnx.planner.baselines.algorithm1 import algorithm1
from mosaic_onnx.planner.baselines.best_of import best_of
from mosaic_onnx.planner.baselines.greedy import greedy
from mosaic_onnx.planner.baselines.offload import first_n_layers, ort_capacity
from mosaic_onnx.planner.baselines.preferred import preferred, preferred_on_demand
from mosaic_onnx.planner.baselines.random_plans import random_plans
from mosaic_onnx.planner.chain.chain_costs import is_chain
from mosaic_onnx.planner.chain.label_setting import labels, labels_apply
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.concurrent.cpsat_method import concurrent_cpsat
from mosaic_onnx.planner.concurrent.method import for_concurrent, heft
from mosaic_onnx.planner.concurrent.method import solver_applies as concurrent_solver_applies
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.planner.error_budget import error_budget, has_error_budget
from mosaic_onnx.planner.exhaustive.method import exhaustive, exhaustive_fits
from mosaic_onnx.planner.refine import refine, refine_fits
from mosaic_onnx.planner.sequential.method import sequential, sequential_fits
from mosaic_onnx.planner.sequential.pareto import pareto, pareto_fits
from mosaic_onnx.planner.taking_turns import one_works_at_a_time, taking_turns
from mosaic_onnx.planner.throughput.cpsat import throughput_cpsat
from mosaic_onnx.planner.throughput.method import for_throughput, throughput
from mosaic_onnx.planner.throughput.method import solver_applies as throughput_solver_applies

_MOST_GROUP_TRIALS = 60
_SCIPY = ("scipy.optimize",)
_SOLVER = (*_SCIPY, "ortools.sat.python.cp_model")


def interval_fits(table: CostTable, request: Request) -> bool:
    """Return whether the interval program is run by itself: on chains, or where slices must be many or in list order.

    On other graphs ``sequential`` runs it along several orders. It tries every device for every group, one after the
    other, which many groups would make long.
    """
    group_count = len(np.unique(table.group[table.group >= 0]))
    if request.objective == "throughput" or group_count * len(table.device_names) > _MOST_GROUP_TRIALS:
        return False
    demanded = request.min_slice_count > 1 or request.in_list_order
    return demanded or is_chain(table, range(len(table.layer_names)))


def never(table: CostTable, request: Request) -> bool:
    """Return False: it runs only when named."""
    return False


@dataclass(frozen=True)
class Method:
    """A way to plan.

    Attributes:
        function: proposes; the simulator judges what it proposes. Raises ``InfeasibleError`` where it can prove that
            there is no plan, ``MethodUnavailable`` where it needs what is not installed.
        help: one line for people.
        automatic: whether ``auto`` runs it on this table for this request.
        sees_all: it gets the table itself, the others the relaxed one (``core.relaxation``).
        time_share: of the time that is left, what ``auto`` gives it where other methods follow.
        words: what may follow the name after a colon (``preferred:npu``); empty for nothing.
        libraries: modules that take long to import, once a process: imported before the method's time begins, which it
            divides by what its first steps took.
    """

    function: Callable[[CostTable, Request], Answer]
    help: str
    automatic: Callable[[CostTable, Request], bool] = never
    words: str = ""
    sees_all: bool = False
    time_share: float = 1.0
    libraries: tuple[str, ...] = ()

    def import_libraries(self) -> None:
        """Import its libraries, those that are installed."""
        for name in self.libraries:
            if find_spec(name.partition(".")[0]) is not None:
                import_module(name)


METHODS: Mapping[str, Method] = {
    "exhaustive": Method(
        exhaustive,
        "every plan of a table of a few layers, whatever is asked: the optimum, proved",
        exhaustive_fits,
        sees_all=True,
    ),
    "interval": Method(
        interval, "MOSAIC's dynamic program over consecutive layers in O(L·S), exact on chains", interval_fits
    ),
    "labels": Method(
        labels,
        "exact on chains with caps on devices, level switches, groups, one slice a device",
        labels_apply,
        time_share=0.3,
    ),
    "sequential": Method(
        sequential,
        "any graph, one thing at a time: exact where small, else bounds, several orders cut into slices, moves",
        sequential_fits,
    ),
    "pareto": Method(pareto, "the whole front of seconds and joules", pareto_fits),
    "error-budget": Method(
        error_budget,
        "the best plan whose layers' errors keep a budget: errors as joules, errors at a price",
        has_error_budget,
    ),
    "algorithm1": Method(algorithm1, "the paper's own Algorithm 1 in O(L²·S)"),
    "preferred": Method(
        preferred,
        "all that one device can hold on it, the rest by fallback; highest levels",
        words="DEVICE[,FALLBACK…]",
    ),
    "preferred-on-demand": Method(
        preferred_on_demand, "the same at the levels of the on-demand governor", words="DEVICE[,FALLBACK…]"
    ),
    "greedy": Method(
        greedy, "every layer to the first listed device that can run it, as ONNX Runtime does", words="DEVICE,…"
    ),
    "ort-capacity": Method(
        ort_capacity,
        "layers in list order to each device until its memory is spent, as ONNX Runtime under a budget",
        words="DEVICE,…",
    ),
    "first-n-layers": Method(
        first_n_layers,
        "as many first blocks as the device holds, the rest elsewhere, as runtimes of language models",
        words="DEVICE,…",
    ),
    "hca": Method(hca, "MOSAIC blind to communication and levels"),
    "hcca": Method(hcca, "MOSAIC blind to levels"),
    "random": Method(random_plans, "the best of N random plans (default 1)", words="N"),
    "best-of": Method(best_of, "the best of N random plans (default 1000) and all simple methods' plans", words="N"),
    "heft": Method(
        heft,
        "devices side by side: HEFT and PEFT seeded by sequential plans, improved and merged",
        for_concurrent,
        libraries=_SCIPY,
    ),
    "concurrent-cpsat": Method(
        concurrent_cpsat, "the same, then OR-tools' CP-SAT, with a bound", concurrent_solver_applies, libraries=_SOLVER
    ),
    "taking-turns": Method(
        taking_turns,
        "throughput where one device works at a time: the plans and the bound of the least latency",
        one_works_at_a_time,
        time_share=0.5,
    ),
    "throughput": Method(
        throughput,
        "smallest largest device load: pipelines through downward-closed sets (exact where they are few), local search",
        for_throughput,
        libraries=_SCIPY,
    ),
    "throughput-cpsat": Method(
        throughput_cpsat,
        "layers spread over devices by OR-tools' CP-SAT, with a bound",
        throughput_solver_applies,
        libraries=_SOLVER,
    ),
    "refine": Method(
        refine,
        "limits on slices, switches that depend on the layer, shared links, slow-downs: slices at a price, polish",
        refine_fits,
        sees_all=True,
    ),
}
"""In the order in which ``auto`` runs them."""


def method_named(word: str) -> Method:
    """Return the method that a request names: ``preferred:npu`` is ``preferred``, which reads the rest itself.

    Raises:
        UsageError: there is no such method, or it takes no words.
    """
    name, colon, _ = word.partition(":")
    name = name.lower()
    if name not in METHODS:
        raise UsageError(f"there is no planner method {name!r}", did_you_mean(name, ["auto", *METHODS]))
    if colon and not METHODS[name].words:
        raise UsageError(f"planner method {name} takes nothing after a colon, got {word!r}")
    return METHODS[name]
