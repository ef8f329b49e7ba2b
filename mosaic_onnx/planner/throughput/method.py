"""Throughput where a device may run several slices: layers spread over devices, whatever their order.

Starts: the best pipeline with one slice a device, placements by prices on the devices' seconds and bytes, each device
alone, and a greedy filling. Then pieces move while that lowers the largest loads. The bound is that of the prices, or
the fractional area. Devices that exclude each other have one load together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.deadline import FOREVER, TimeUpError, part_of, timed
from mosaic_onnx.planner.core.lower_bounds import possible_states, scratch_alone
from mosaic_onnx.planner.core.orders import implied_order
from mosaic_onnx.planner.core.ortools import available
from mosaic_onnx.planner.core.request import Answer, Proposal, Request
from mosaic_onnx.planner.search.initial_solutions import quick_plans, runs
from mosaic_onnx.planner.search.simulated_search import best_of, polish
from mosaic_onnx.planner.throughput.area_bound import fractional_area
from mosaic_onnx.planner.throughput.load_prices import price_loads
from mosaic_onnx.planner.throughput.loads import Loads, fastest_states, pieces_of
from mosaic_onnx.planner.throughput.pipeline import one_slice_per_device

MAX_MOVES = 4_000
"""Number of moves one improvement may make."""
MAX_ASSIGNMENTS = 3_000
"""Up to so many pairs of piece and device the solver is tried."""
SHARPNESS = 12
"""The sum of loads to this power is what moves lower: nearly the largest load, but it also sees the others."""
POLISHED_PIECES = 60
"""Up to so many pieces the best plan is polished by whole simulations."""
PIPELINE_LAYERS = 2_000
"""Up to so many layers pipelines of one slice a device are looked for as starts."""
PRICES_SHARE, PIPELINE_SHARE, MOVES_SHARE = 0.65, 0.4, 0.6
"""The shares of the time left that prices, then pipelines, then each start's moves may take."""
WRITTEN, PRICED = 3.0, 7.5
"""The time of writing plans out, and of the first step of prices at least, in times of the first plans' time."""
SMALL_CHOICES = 20_000
"""Up to so many pairs of layer and state prices are begun whatever the first plans took."""
LARGE_PIECES = 1_500
"""With more pieces than this, any move that helps is made at once."""
LEAST_SOLVER_S = 2.0
"""In less time the heuristics find better plans alone: at 1.2 s by 2 %, at 4 s with the solver by 2 %."""
SINGLE_STARTS = 200
"""Up to so many pieces, starting from each device alone is worth its time."""


def throughput(table: CostTable, request: Request) -> Answer:
    """Return the plan with the smallest largest device load, and a bound.

    Raises:
        InfeasibleError: with one slice per device asked for, none such exists.
    """
    if request.one_slice_per_device:
        return one_slice_per_device(table, request)
    began = time.monotonic()
    deadline = began + request.time_limit_s
    quick = list(quick_plans(table))
    pieces = pieces_of(table)
    bound_s, how = fractional_area(table), "fractional area"
    quick_s = time.monotonic() - began
    deadline -= WRITTEN * quick_s
    share = part_of(deadline, PRICES_SHARE)
    in_time = table.layer_s.size <= SMALL_CHOICES or time.monotonic() + PRICED * quick_s < share
    priced = price_loads(table, None, share) if in_time else None
    left_s = PIPELINE_SHARE * max(deadline - time.monotonic(), 0.0)
    pipeline = _pipeline(table, replace(request, time_limit_s=left_s))
    known = [placed_states(table, plan) for plan in pipeline.proposals[:1]]
    if priced is not None:
        known = [*priced.placements, *known]
        if priced.bound_s > bound_s:
            bound_s, how = priced.bound_s, "prices on the devices' seconds and bytes (Lagrangian relaxation)"
    improved = _improved(table, pieces, _starts(table, pieces, known), bound_s, deadline)
    proposals = [plan for loads in improved[:4] for plan in slices_of(table, loads.layer_states(), deadline)]
    proposals = list(dict.fromkeys([*proposals, *pipeline.proposals, *quick]))
    if proposals and len(pieces) <= POLISHED_PIECES:
        proposals.insert(0, polish(table, request, best_of(table, request, proposals), deadline))
    return Answer(tuple(proposals), bound_s, how)


def _improved(
    table: CostTable,
    pieces: Sequence[tuple[int, ...]],
    starts: Iterable[tuple[int, ...]],
    scale_s: float,
    deadline: float,
) -> list[Loads]:
    """Return the starts after moves, best first."""
    done: list[Loads] = []
    for start in starts:
        if time.monotonic() > deadline:
            break
        loads = Loads(table, pieces, start)
        improve(loads, scale_s, part_of(deadline, MOVES_SHARE))
        done.append(loads)
    return sorted(done, key=lambda loads: (not loads.keeps_caps, max(loads.seconds)))


def for_throughput(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs it: where throughput is the objective, unless the solver takes this on as well."""
    return request.objective == "throughput" and not (solver_applies(table, request) and available())


def solver_applies(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs the solver: throughput, several slices a device, not too large, given time."""
    wanted = request.objective == "throughput" and not request.one_slice_per_device
    pairs = len(table.layer_names) * len(table.device_names)
    return wanted and pairs <= MAX_ASSIGNMENTS and request.time_limit_s >= LEAST_SOLVER_S


def improve(loads: Loads, scale_s: float, deadline: float) -> None:
    """Move pieces one at a time, always the move that lowers the sharpened sum most, until none does.

    Only pieces that bear on the busiest device are looked at. Where they are very many, every move that helps is made.
    """
    scale = 1 / max(scale_s, 1e-30)
    if len(loads.device_of) > LARGE_PIECES:
        _sweep(loads, scale, deadline)
        return
    for _ in range(MAX_MOVES):
        busiest = max(range(len(loads.seconds)), key=loads.seconds.__getitem__)
        with suppress(TimeUpError):
            move = _best_move(loads, timed(loads.bearing_on(busiest), deadline), scale)
            if move is not None:
                loads.move(*move)
                continue
        return


def _sweep(loads: Loads, scale: float, deadline: float) -> None:
    """Make the best move of each piece that bears on the busiest device, again and again until none helps."""
    helped = True
    with suppress(TimeUpError):
        while helped:
            helped = False
            busiest = max(range(len(loads.seconds)), key=loads.seconds.__getitem__)
            for piece in timed(loads.bearing_on(busiest), deadline):
                move = _best_move(loads, (piece,), scale)
                if move is not None:
                    loads.move(*move)
                    helped = True


def _best_move(loads: Loads, candidates: Iterable[int], scale: float) -> tuple[int, int] | None:
    """Return (piece, device) of the move that lowers the sharpened sum most; None where none lowers it."""
    sharp = [(seconds * scale) ** SHARPNESS for seconds in loads.seconds]
    best, move = -1e-9 * sum(sharp), None
    for piece in candidates:
        for device in range(loads.device_count):
            if device == loads.device_of[piece]:
                continue
            after = loads.changed(piece, device)
            if not after:
                continue
            change = sum((max(seconds, 0.0) * scale) ** SHARPNESS - sharp[one] for one, seconds in after.items())
            if change < best:
                best, move = change, (piece, device)
    return move


def slices_of(table: CostTable, states: Ints, deadline: float = FOREVER) -> list[Proposal]:
    """Return plans that run each layer in its state, in few slices; one at least, more while there is time."""
    plans: dict[Proposal, None] = {}
    for by_size in (False, True):
        if not plans or time.monotonic() < deadline:
            plans[runs(table, implied_order(table, states, by_size), states)] = None
    return list(plans)


def placed_states(table: CostTable, proposal: Proposal) -> Ints:
    """Return [L] the state of each layer."""
    states = np.zeros(len(table.layer_names), dtype=np.int64)
    for layers, state in proposal:
        states[list(layers)] = state
    return states


def _pipeline(table: CostTable, request: Request) -> Answer:
    """Return the pipelines with one slice a device; none where there is no such, or the table is too large."""
    if len(table.layer_names) > PIPELINE_LAYERS:
        return Answer(())
    try:
        return one_slice_per_device(table, request)
    except InfeasibleError:
        return Answer(())


def _starts(table: CostTable, pieces: Sequence[tuple[int, ...]], known: Iterable[Ints]) -> list[tuple[int, ...]]:
    """Return [P] devices: those of known placements, a greedy filling, and every single device."""
    possible = np.where(possible_states(table), table.layer_s, np.inf)
    layer_s = np.stack([possible[:, table.state_device == d].min(axis=1) for d in range(len(table.device_names))])
    work = np.stack([layer_s[:, list(layers)].sum(axis=1) for layers in pieces])
    starts = [tuple(table.state_device[states[[layers[0] for layers in pieces]]].tolist()) for states in known]
    starts.append(_filled(work, *_weights(table, pieces)))
    if len(pieces) <= SINGLE_STARTS:
        starts += [(device,) * len(pieces) for device in range(work.shape[1])]
    return [start for start in dict.fromkeys(starts) if all(np.isfinite(work[p, d]) for p, d in enumerate(start))]


def _weights(table: CostTable, pieces: Sequence[tuple[int, ...]]) -> tuple[Ints, Floats]:
    """Return [P, D] bytes of parameters of each piece, and [D] what each device can hold beside scratch memory."""
    fastest = fastest_states(table)
    bytes_of = np.take_along_axis(table.parameter_bytes, fastest, axis=1)
    scratch = np.take_along_axis(scratch_alone(table), fastest, axis=1).max(axis=0, initial=0)
    return np.stack([bytes_of[list(layers)].sum(axis=0) for layers in pieces]), table.memory_bytes - scratch


def _filled(work: Floats, needed: Ints, room: Floats) -> tuple[int, ...]:
    """Return largest pieces first, each where the load ends up least and there is room; transfers are not looked at."""
    loads, room = np.zeros(work.shape[1]), room.copy()
    device_of = [0] * len(work)
    for piece in np.argsort(-np.where(np.isfinite(work), work, 0.0).max(axis=1), kind="stable").tolist():
        device = int(np.where(needed[piece] <= room, loads + work[piece], np.inf).argmin())
        device_of[piece] = device
        room[device] -= needed[piece, device]
        loads[device] += work[piece, device]
    return tuple(device_of)
