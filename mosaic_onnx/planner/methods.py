"""The methods by name. To add one: a module with a function of (table, request) to ``Answer``, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mosaic_onnx.costs import CostTable
from mosaic_onnx.planner.algorithm1 import algorithm1
from mosaic_onnx.planner.request import Answer, Request


def always(table: CostTable, request: Request) -> bool:
    """It is cheap enough to run whatever is asked."""
    return True


def never(table: CostTable, request: Request) -> bool:
    """It runs only when named."""
    return False


@dataclass(frozen=True)
class Method:
    """A way to plan.

    Attributes:
        function: proposes; the simulator judges what it proposes. Raises ``InfeasibleError`` where it can prove that
            there is no plan, ``MethodUnavailable`` where it needs what is not installed.
        help: one line for people.
        automatic: whether ``auto`` runs it on this table for this request.
    """

    function: Callable[[CostTable, Request], Answer]
    help: str
    automatic: Callable[[CostTable, Request], bool] = never


METHODS: Mapping[str, Method] = {
    "algorithm1": Method(algorithm1, "the paper's own Algorithm 1 in O(L²·S)", always),
}
"""In the order in which ``auto`` runs them."""
