"""MOSAIC's own Algorithm 1 (PACT 2019, section V-C): O(Λ²·|D|), kept as the paper prints it.

The states are the paper's devices D (equation 7: a device at another frequency counts as another device). Two ways to
count what a slice communicates:

* ``paper``: equation 8 as printed: the inputs of the slice's first layer and the outputs of its last one.
* ``tensors``: equation 8 per tensor: every tensor that enters or leaves the slice, once. This is what ``io: host``
  devices pay, so on a chain of layers over such devices Algorithm 1 is exact.

A slice's cost does not depend on its neighbours here, so what stays on a resident device is paid for as if it left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import NoPlanFoundError
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weighed, Weights, weigh
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Proposal, Request

Accounting = Literal["paper", "tensors"]


def algorithm1(table: CostTable, request: Request) -> Answer:
    """Return the method: Algorithm 1 with costs counted per tensor, for latency or energy."""
    weights = ENERGY if request.objective == "energy" else LATENCY
    return Answer((find_efficient_slicing_and_execution_plan(table, weights).slices,))


@dataclass(frozen=True)
class SliceSet:
    """The best slices for the first layers, and their cost (the paper's ``sliceSets[l]``)."""

    slices: Proposal
    cost: float


def find_efficient_slicing_and_execution_plan(
    table: CostTable, weights: Weights = LATENCY, accounting: Accounting = "tensors"
) -> SliceSet:
    """Algorithm 1 and equation 9: C_tot,l = min over k < l and δ of C_tot,k + C_{k+1,l,δ}.

    Raises:
        NoPlanFoundError: no slices cover all layers.
    """
    estimate = CostEstimator(table, weights, accounting)
    states = range(len(table.state_names))
    slice_sets = [SliceSet((), 0.0)]  # lines 2 and 3
    for last in range(len(table.layer_names)):  # line 4: l is last + 1
        best = SliceSet((), float("inf"))  # lines 5 and 6
        for first in range(last + 1):  # line 8: k is first
            layers = tuple(range(first, last + 1))  # line 9
            for state in states:  # line 10
                one = PlacedSlice(layers, state)  # line 12
                cost = slice_sets[first].cost + estimate.total_cost(one)  # lines 11 and 13
                if cost < best.cost:  # line 14
                    best = SliceSet((*slice_sets[first].slices, one), cost)  # lines 15 to 17
        slice_sets.append(best)  # lines 18 and 19
    if slice_sets[-1].cost == float("inf"):
        raise NoPlanFoundError("no slices of consecutive layers can run every layer")
    return slice_sets[-1]  # line 20


class CostEstimator:
    """Equation 8: C_{m,n,δ} = Σ e_k,δ + c_in,m,δ + c_out,n,δ, or infinite where δ cannot execute the slice."""

    def __init__(self, table: CostTable, weights: Weights, accounting: Accounting) -> None:
        self.table, self.accounting = table, accounting
        self.weighed: Weighed = weigh(table, weights)

    def total_cost(self, one: PlacedSlice) -> float:
        """C_{m,n,δ}; infinite where a layer is not supported or the slice breaks its device's cap."""
        table, state = self.table, one.state
        device = table.rows.state_device[state]
        execution = sum(float(self.weighed.layer[layer, state]) for layer in one.layers)
        if execution == float("inf"):
            return execution
        cap = table.rows.slice_memory_bytes[device]
        if cap < float("inf") and slice_memory(table, one).total > cap:
            return float("inf")
        measured = self.weighed.segments.get((one.layers[0], one.layers[-1], state))
        execution = execution + float(self.weighed.slice[device]) if measured is None else measured
        if self.accounting == "paper":
            entering, leaving = table.layer_inputs[one.layers[0]], table.layer_outputs[one.layers[-1]]
        else:
            entering, leaving = self._entering(one.layers), self._leaving(one.layers)
        received = sum(float(self.weighed.from_host[tensor, state]) for tensor in entering)
        sent = sum(float(self.weighed.to_host[tensor, state]) for tensor in leaving)
        return execution + received + sent

    def _entering(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Return tensors that the slice reads and does not make, each once."""
        read = dict.fromkeys(tensor for layer in layers for tensor in self.table.layer_inputs[layer])
        return tuple(tensor for tensor in read if self.table.rows.producer[tensor] not in layers)

    def _leaving(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Return tensors that the slice makes and something outside it, or the model's outputs, needs."""
        made = (tensor for layer in layers for tensor in self.table.layer_outputs[layer])
        return tuple(
            tensor
            for tensor in made
            if self.table.rows.is_output[tensor] or any(c not in layers for c in self.table.consumers[tensor])
        )
