"""Choose the layers to run depth-first: every group of up to three in a chain, every tiling, by dynamic programming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.costs.evaluate import Objective, objective_value
from mosaic_onnx.npu.costs.tiling import trip_counts
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest, ModelLayers
from mosaic_onnx.npu.search.certificate import Certificate
from mosaic_onnx.npu.search.dataflow import best_dataflow
from mosaic_onnx.npu.search.depth_first import FusedCost, FusedTiling, can_follow, fits_fused, fused_cost

LONGEST_GROUP = 3


@dataclass(frozen=True)
class Group:
    """Layers that run as one.

    Attributes:
        layers: indices in the model, consecutive in a chain.
        cost: of all of them together.
        tiling: None for a layer alone in its best dataflow.
    """

    layers: tuple[int, ...]
    cost: FusedCost
    tiling: FusedTiling | None


@dataclass(frozen=True)
class Fusion:
    """A whole model with the best groups.

    Attributes:
        groups: in the model's order; layers that nothing can run are absent.
        certificate: groups and tilings looked at; the bound is the best over all ways to cut the chains into groups.
        alone: the objective's sum without fusion.
        fused: the objective's sum with it; never more.
    """

    groups: tuple[Group, ...]
    certificate: Certificate
    alone: float
    fused: float


def best_fused(nests: Sequence[LoopNest], hardware: Hardware, objective: Objective) -> tuple[Group | None, int, int]:
    """Return the best way to run a group depth-first, tilings evaluated, and tilings that do not fit.

    For latency and energy the answer is the best of all tilings; for their product the better of both unrollings.
    """
    best: tuple[float, FusedCost, FusedTiling] | None = None
    evaluated = unfit = 0
    preferences = {"latency": (False,), "energy": (True,), "edp": (False, True)}[objective]
    for count in trip_counts(nests[-1].P):
        for stay in (True, False):
            tiling = FusedTiling(count, stay)
            if not fits_fused(nests, hardware, tiling):
                unfit += 1
                continue
            for least_energy in preferences:
                cost = fused_cost(nests, hardware, tiling, least_energy=least_energy)
                evaluated += 1
                value = objective_value(objective, cost.cycles, cost.joules)
                if best is None or value < best[0]:
                    best = value, cost, tiling
    return (None if best is None else Group((), best[1], best[2])), evaluated, unfit


def fuse(
    model: ModelLayers, hardware: Hardware, objective: Objective = "latency", cache: Cache | None = None
) -> Fusion:
    """Return the best groups of a model: each chain is cut by dynamic programming.

    A layer alone in its best dataflow is always a choice, so the result is never worse than without fusion.

    Args:
        model: its layers, with ``followers``.
        hardware: the NPU; layers that do not fit its buffer are left out.
        objective: what is made least, summed over the groups.
        cache: where dataflows are kept.
    """
    alone = {at: group for at in range(len(model.layers)) if (group := _alone(model, at, hardware, objective, cache))}
    groups: list[Group] = []
    evaluated, unfit, total = len(alone), 0, 0.0
    for chain in _chains(model, hardware):
        chosen, value, counts = _cut(chain, model, hardware, objective, alone)
        groups += chosen
        total += value
        evaluated, unfit = evaluated + counts[0], unfit + counts[1]
    before = sum(objective_value(objective, group.cost.cycles, group.cost.joules) for group in alone.values())
    gap = 0.0 if objective != "edp" else None
    certificate = Certificate(evaluated, {"capacity": unfit}, total if gap == 0.0 else None, gap)
    ordered = tuple(sorted(groups, key=lambda group: group.layers[0]))
    return Fusion(ordered, certificate, before, total)


def _alone(model: ModelLayers, at: int, hardware: Hardware, objective: Objective, cache: Cache | None) -> Group | None:
    try:
        cost = best_dataflow(model.layers[at], hardware, objective, cache=cache).cost
    except InfeasibleError:
        return None
    return Group((at,), FusedCost(cost.cycles, cost.joules, cost.dram_bytes), None)


def _chains(model: ModelLayers, hardware: Hardware) -> list[list[int]]:
    """Return the layers as chains whose neighbours can be fused; every layer is in one."""
    followers = model.followers or (None,) * len(model.layers)
    joined = {
        at: follower
        for at, follower in enumerate(followers)
        if follower is not None and _fusable(model, at, follower, hardware)
    }
    heads = [at for at in range(len(model.layers)) if at not in joined.values()]
    chains = []
    for head in heads:
        chain = [head]
        while chain[-1] in joined:
            chain.append(joined[chain[-1]])
        chains.append(chain)
    return chains


def _fusable(model: ModelLayers, first: int, second: int, hardware: Hardware) -> bool:
    one, other = model.layers[first], model.layers[second]
    if not isinstance(one, LoopNest) or not isinstance(other, LoopNest):
        return False
    on_array = hardware.operators.depthwise == "native" or not (one.is_depthwise or other.is_depthwise)
    return on_array and can_follow(one, other)


def _cut(
    chain: Sequence[int], model: ModelLayers, hardware: Hardware, objective: Objective, alone: dict[int, Group]
) -> tuple[list[Group], float, tuple[int, int]]:
    """Return the best groups of one chain, their sum, and the counts of tilings evaluated and unfit."""
    best: list[tuple[float, list[Group]]] = [(0.0, [])]
    evaluated = unfit = 0
    for end in range(1, len(chain) + 1):
        options = []
        for length in range(1, min(LONGEST_GROUP, end) + 1):
            members = tuple(chain[end - length : end])
            if length == 1:
                group = alone.get(members[0])
                if group is None:
                    options.append(best[end - 1])
                    continue
            else:
                nests = [layer for at in members if isinstance(layer := model.layers[at], LoopNest)]
                found, looked_at, without_room = best_fused(nests, hardware, objective)
                evaluated, unfit = evaluated + looked_at, unfit + without_room
                if found is None or any(at not in alone for at in members):
                    continue
                group = Group(members, found.cost, found.tiling)
            value, groups = best[end - length]
            options.append((value + objective_value(objective, group.cost.cycles, group.cost.joules), [*groups, group]))
        best.append(min(options, key=lambda option: option[0]))
    return best[-1][1], best[-1][0], (evaluated, unfit)
