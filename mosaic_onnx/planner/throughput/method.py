"""Throughput where a device may run several slices: layers spread over devices, whatever their order.

Starts: the best pipeline with one slice a device, each device alone, and a greedy filling. Then pieces move while that
lowers the largest loads. The bound is the fractional area; ``spread_cpsat`` finds better plans and bounds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np

from mosaic_onnx.core.costs import CostTable, Floats, Ints
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.device_classes import device_classes
from mosaic_onnx.planner.core.lower_bounds import possible_states, scratch_alone, segment_floor
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.core.orders import implied_order
from mosaic_onnx.planner.core.ortools import available
from mosaic_onnx.planner.core.request import Answer, Proposal, Request
from mosaic_onnx.planner.search.initial_solutions import runs
from mosaic_onnx.planner.search.simulated_search import best_of, polish
from mosaic_onnx.planner.throughput.area_bound import area_bound
from mosaic_onnx.planner.throughput.loads import Loads, fastest_states, pieces_of
from mosaic_onnx.planner.throughput.pipeline import one_slice_per_device

MAX_MOVES = 4_000
"""Number of moves one improvement may make."""
MAX_ASSIGNMENTS = 20_000
"""Up to so many pairs of piece and device the solver is tried."""
SHARPNESS = 12
"""The sum of loads to this power is what moves lower: nearly the largest load, but it also sees the others."""
POLISHED_PIECES = 60
"""Up to so many pieces the best plan is polished by whole simulations."""
PIPELINE_LAYERS = 6_000
"""Up to so many layers pipelines of one slice a device are looked for as starts."""
EXACT_AREA_PIECES = 20_000
"""Up to so many pieces the area bound is a linear program's; above, that of equal prices."""
SINGLE_STARTS = 200
"""Up to so many pieces, starting from each device alone is worth its time."""


def throughput(table: CostTable, request: Request) -> Answer:
    """Return the plan with the smallest largest device load, and a bound.

    Raises:
        InfeasibleError: with one slice per device asked for, none such exists.
    """
    pipeline = one_slice_per_device(table, request) if request.one_slice_per_device else _pipeline(table, request)
    if request.one_slice_per_device:
        return pipeline
    deadline = time.monotonic() + request.time_limit_s
    pieces = pieces_of(table)
    area_s = _area(table, pieces)
    best: list[Loads] = []
    for start in _starts(table, pieces, pipeline.proposals):
        loads = Loads(table, pieces, start)
        improve(loads, area_s, deadline)
        best.append(loads)
    best.sort(key=lambda loads: max(loads.seconds))
    proposals = [*pipeline.proposals]
    for loads in best[:4]:
        proposals += slices_of(table, loads.layer_states())
    proposals = list(dict.fromkeys(proposals))
    if proposals and len(pieces) <= POLISHED_PIECES:
        proposals.append(polish(table, request, best_of(table, request, proposals), deadline))
    return Answer(tuple(proposals), area_s, "fractional area")


def for_throughput(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs it: where throughput is the objective, unless the solver takes this on as well."""
    return request.objective == "throughput" and not (solver_applies(table, request) and available())


def solver_applies(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs the solver: throughput, several slices a device, not too large."""
    pairs = len(table.layer_names) * len(table.device_names)
    return request.objective == "throughput" and not request.one_slice_per_device and pairs <= MAX_ASSIGNMENTS


def improve(loads: Loads, scale_s: float, deadline: float) -> None:
    """Move pieces one at a time, always the move that lowers the sharpened sum most, until none does.

    Only pieces that bear on the busiest device are looked at.
    """
    scale = 1 / max(scale_s, 1e-30)
    for _ in range(MAX_MOVES):
        busiest = max(range(len(loads.seconds)), key=loads.seconds.__getitem__)
        move = _best_move(loads, loads.bearing_on(busiest), scale)
        if move is None or time.monotonic() > deadline:
            return
        loads.move(*move)


def _best_move(loads: Loads, candidates: Iterable[int], scale: float) -> tuple[int, int] | None:
    """Return (piece, device) of the move that lowers the sharpened sum most; None where none lowers it."""
    sharp = [(seconds * scale) ** SHARPNESS for seconds in loads.seconds]
    best, move = -1e-9 * sum(sharp), None
    for piece in candidates:
        for device in range(len(loads.seconds)):
            if device == loads.device_of[piece]:
                continue
            after = loads.changed(piece, device)
            if not after:
                continue
            change = sum((max(seconds, 0.0) * scale) ** SHARPNESS - sharp[one] for one, seconds in after.items())
            if change < best:
                best, move = change, (piece, device)
    return move


def slices_of(table: CostTable, states: Ints) -> list[Proposal]:
    """Return plans that run each layer in its state, in few slices."""
    orders = dict.fromkeys(implied_order(table, states, by_size) for by_size in (False, True))
    return list(dict.fromkeys(runs(table, order, states) for order in orders))


def _pipeline(table: CostTable, request: Request) -> Answer:
    """Return the pipelines with one slice a device; none where there is no such, or the table is too large."""
    if len(table.layer_names) > PIPELINE_LAYERS:
        return Answer(())
    try:
        return one_slice_per_device(table, request)
    except InfeasibleError:
        return Answer(())


def _starts(
    table: CostTable, pieces: Sequence[tuple[int, ...]], proposals: Sequence[Proposal]
) -> list[tuple[int, ...]]:
    """Return [P] devices: the last (best) pipeline's, every single device's, and a greedy filling."""
    rows = table.rows
    possible = np.where(possible_states(table), table.layer_s, np.inf)
    layer_s = np.stack([possible[:, table.state_device == d].min(axis=1) for d in range(len(table.device_names))])
    work = np.stack([layer_s[:, list(layers)].sum(axis=1) for layers in pieces])
    starts = []
    for proposal in proposals[-1:]:
        device = {layer: rows.state_device[placed.state] for placed in proposal for layer in placed.layers}
        starts.append(tuple(device[layers[0]] for layers in pieces))
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


def _area(table: CostTable, pieces: Sequence[tuple[int, ...]]) -> float:
    """Return the fractional area bound over pieces."""
    classes = device_classes(table)
    floor = segment_floor(table, weigh(table, LATENCY))
    work = np.stack([floor[:, list(one.states)].min(axis=1) for one in classes], axis=1)
    summed = np.stack([work[list(layers)].sum(axis=0) for layers in pieces]) if pieces else work
    return area_bound(summed, [len(one.devices) for one in classes], quick=len(pieces) > EXACT_AREA_PIECES).seconds
