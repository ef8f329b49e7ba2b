"""The usual ways to place a model that one device cannot hold, as runtimes do it."""

from __future__ import annotations

import re

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, NoPlanFoundError
from mosaic_onnx.planner.baselines.arguments import device_order, highest_states
from mosaic_onnx.planner.core.memory import check_memory
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Proposal, Request

_NUMBER = re.compile(r"\d+")


def ort_capacity(table: CostTable, request: Request) -> Answer:
    """``ort-capacity:FIRST,SECOND,…``: layers in list order to a device until its memory is spent, then to the next.

    ONNX Runtime's partitioning under a budget (``session.resource_cuda_partitioning_settings``): assignment to a device
    stops at the first layer that would exceed it, smaller layers behind are not looked at. A layer that the device
    cannot run is passed over.

    Raises:
        UsageError: no device is named, or none has that name.
        NoPlanFoundError: no device can hold a layer.
    """
    return Answer((_until_full(table, device_order(table, request)),))


def first_n_layers(table: CostTable, request: Request) -> Answer:
    """``first-n-layers:DEVICE,…``: as many first blocks as the device holds, all else on the next device.

    The number of layers to offload that users of LLM runtimes set, at its best value. Layers whose names have the same
    first number are a block (``blocks.3/attention``, ``blocks.3/feed_forward``); layers without a number (embedding,
    head) stay on the next device.

    Raises:
        UsageError: no device is named, or none has that name.
        NoPlanFoundError: the next device cannot run or hold the rest.
    """
    first, *rest = device_order(table, request)
    blocks = _blocks(table)
    low, high = 0, len(blocks)
    best = _with_blocks(table, first, rest, blocks[:low])
    while low < high:  # memory that blocks need only grows with their number
        middle = (low + high + 1) // 2
        found = _with_blocks(table, first, rest, blocks[:middle])
        low, high = (middle, high) if found is not None else (low, middle - 1)
        best = found or best
    if best is None:
        raise NoPlanFoundError("first-n-layers: the devices after the first cannot hold what it does not hold")
    return Answer((best,))


def _until_full(table: CostTable, order: tuple[int, ...]) -> Proposal:
    """Return the layers in list order, devices taken one after the other as they fill up."""
    rows, states = table.rows, highest_states(table)
    slices: list[PlacedSlice] = []
    full: set[int] = set()
    for layer, name in enumerate(table.layer_names):
        for device in order:
            state = states[device]
            if device in full or rows.layer_s[layer][state] == float("inf"):
                continue
            grown = _grown(slices, layer, state)
            if _holds(table, grown):
                slices = grown
                break
            full.add(device)
        else:
            raise NoPlanFoundError(f"ort-capacity: no device can hold layer {name} beside what it holds")
    return tuple(slices)


def _grown(slices: list[PlacedSlice], layer: int, state: int) -> list[PlacedSlice]:
    """Return the slices with one more layer, in the last of them where that is in its state."""
    if slices and slices[-1].state == state:
        return [*slices[:-1], PlacedSlice((*slices[-1].layers, layer), state)]
    return [*slices, PlacedSlice((layer,), state)]


def _holds(table: CostTable, slices: list[PlacedSlice]) -> bool:
    try:
        check_memory(table, tuple(slices))
    except InfeasibleError:
        return False
    return True


def _blocks(table: CostTable) -> list[list[int]]:
    """Return the layers of each block, in list order."""
    found: dict[str, list[int]] = {}
    for layer, name in enumerate(table.layer_names):
        number = _NUMBER.search(name)
        if number is not None:
            found.setdefault(name[: number.end()], []).append(layer)
    return list(found.values())


def _with_blocks(table: CostTable, first: int, rest: list[int], blocks: list[list[int]]) -> Proposal | None:
    """Return the plan with these blocks on the first device; None where memory does not allow it."""
    rows, states = table.rows, highest_states(table)
    chosen = {layer for block in blocks for layer in block}
    slices: list[PlacedSlice] = []
    for layer in range(len(table.layer_names)):
        devices = [first] if layer in chosen else rest or [first]
        able = [device for device in devices if rows.layer_s[layer][states[device]] < float("inf")]
        if not able:
            return None
        slices = _grown(slices, layer, states[able[0]])
    return tuple(slices) if _holds(table, slices) else None
