"""The longest slices that keep a device's cap, for every last layer.

A slice's memory never shrinks when a layer is added at either end, so for every last layer there is one first layer
from which on slices fit, and it never moves back: two pointers find all of them in one walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Ints

INF = float("inf")


def slice_caps(table: CostTable) -> list[float]:
    """Return [S] bytes that one slice may take: the slice cap, and the device's cap, which holds for one slice too."""
    caps = np.minimum(table.slice_memory_bytes, table.memory_bytes)
    return [float(cap) for cap in caps[table.state_device]]


def first_layers(table: CostTable, order: Sequence[int]) -> dict[int, list[int]]:
    """For each state with a cap: [L] the first place of the longest slice that ends at each place and fits.

    Places count along ``order``, a topological order of the layers. A place one after the last means that not even the
    layer alone fits. States of one device whose layers need the same bytes share the result.
    """
    caps = slice_caps(table)
    places = list(order)
    found: dict[int, list[int]] = {}
    walked: dict[tuple[float, bool, bytes], list[int]] = {}
    for state, cap in enumerate(caps):
        if cap == INF:
            continue
        summed = bool(table.activation_sum[table.state_device[state]])
        parameters = table.parameter_bytes[places, state]
        workspace = table.workspace_bytes[places, state]
        activations = table.activation_bytes[places, state] if summed else None
        needs = [array for array in (parameters, workspace, activations) if array is not None]
        key = cap, summed, b"".join(array.tobytes() for array in needs)
        if key not in walked:
            live = None if summed else LiveWindow(table, places)
            added = parameters if activations is None else parameters + activations
            walked[key] = _walk(added, workspace, live, cap)
        found[state] = walked[key]
    return found


def single_layers(windows: Mapping[int, list[int]], state_count: int, layer_count: int) -> dict[int, list[int]]:
    """For every state: windows that hold one layer at most, and none where not even that fits."""
    free = [0] * layer_count
    return {
        state: [max(place, first) for place, first in enumerate(windows.get(state, free))]
        for state in range(state_count)
    }


def _walk(added: Ints, workspace: Ints, live: LiveWindow | None, cap: float) -> list[int]:
    """Return [L] first places, by two pointers.

    Args:
        added: [L] bytes that add up over a slice.
        workspace: [L] bytes of which the largest counts.
        live: the tensors live in the window; None where activations are in ``added``.
        cap: bytes that a slice may take.
    """
    firsts: list[int] = []
    first, total = 0, 0
    for last, extra in enumerate(added.tolist()):
        total += extra
        if live is not None:
            live.extend(first, last)
        while first <= last:
            largest = live.largest(first, last) if live is not None else 0
            if total + int(workspace[first : last + 1].max()) + largest <= cap:
                break
            total -= int(added[first])
            if live is not None:
                live.drop(first, last)
            first += 1
        firsts.append(first)
    return firsts


class LiveWindow:
    """Bytes of tensors live at each step of a window of layers, as ``memory.live_bytes`` counts them.

    A tensor made inside the window lives from its layer to its last reader anywhere (to the end where it is an output
    of the model); one from outside lives from the window's start to its last reader inside.
    """

    def __init__(self, table: CostTable, places: list[int]) -> None:
        rows = table.rows
        place = {layer: at for at, layer in enumerate(places)}
        self.bytes = rows.tensor_bytes
        self.reads = [table.layer_inputs[layer] for layer in places]
        self.makes = [table.layer_outputs[layer] for layer in places]
        self.maker = [place[layer] if layer >= 0 else -1 for layer in rows.producer]
        self.readers = [sorted(place[layer] for layer in readers) for readers in table.consumers]
        end = len(places)
        self.last = [
            end if output else max(readers, default=-1)
            for output, readers in zip(rows.is_output, self.readers, strict=True)
        ]
        self.live: Ints = np.zeros(end + 1, dtype=np.int64)

    def restart(self) -> None:
        """Begin an empty window."""
        self.live[:] = 0

    def extend(self, first: int, last: int) -> None:
        """The window first…last-1 becomes first…last."""
        for tensor in self.reads[last]:
            if self.maker[tensor] < first:
                before = [reader for reader in self.readers[tensor] if first <= reader < last]
                start = before[-1] + 1 if before else first
                self.live[start : last + 1] += self.bytes[tensor]
        for tensor in self.makes[last]:
            self.live[last : max(last, self.last[tensor]) + 1] += self.bytes[tensor]

    def drop(self, first: int, last: int) -> None:
        """The window first…last becomes first+1…last."""
        for tensor in self.makes[first]:
            inside = [reader for reader in self.readers[tensor] if reader <= last]
            start = inside[-1] + 1 if inside else first
            end = max(first, self.last[tensor])
            self.live[start : end + 1] -= self.bytes[tensor]

    def largest(self, first: int, last: int) -> int:
        """Return the largest sum of bytes live at once in the window."""
        return int(self.live[first : last + 1].max())
