"""Plans drawn by chance for real models, on devices of every kind of memory; nothing is measured."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import HOST, Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import plan_of

DEVICES = (Device("cpu"), Device("other"), Device("gpu0"), Device("npu", io="host"))
"""Two that share host's memory, one with its own, one that keeps nothing between slices."""


def made_up_profile(graph: LayerGraph) -> Profile:
    """A profile in which every layer costs the same everywhere."""
    layers = tuple(
        ProfileLayer(each.name, each.inputs, each.outputs, {one.name: Cost(1e-3) for one in DEVICES}, nodes=each.nodes)
        for each in graph.layers
    )
    ways = [(HOST, name) for name in ("gpu0", "npu")] + [(name, HOST) for name in ("gpu0", "npu")]
    copies = tuple(TransferCost(source, destination, 1e-9, 1e-5) for source, destination in ways)
    sizes = {name: info.bytes for name, info in graph.tensors.items()}
    return Profile("model", DEVICES, sizes, graph.inputs, graph.outputs, layers, copies)


def random_plan(profile: Profile, seed: int, slice_count: int = 6) -> Plan:
    """Runs of layers in list order on devices drawn by chance, with the transfers that the simulator pays for."""
    draw = random.Random(seed)
    count = len(profile.layers)
    cuts = sorted({0, count, *(draw.randrange(1, count) for _ in range(slice_count - 1) if count > 1)})
    starts = pairwise(cuts)
    proposal = tuple(PlacedSlice(tuple(range(start, end)), draw.randrange(len(DEVICES))) for start, end in starts)
    table = cost_table(profile)
    plan = plan_of(table, Request(), "random", proposal, simulate(table, proposal))
    nodes = [tuple(key for layer in one.layers for key in profile.layers[layer].nodes) for one in plan.slices]
    return replace(plan, slices=tuple(replace(one, nodes=keys) for one, keys in zip(plan.slices, nodes, strict=True)))
