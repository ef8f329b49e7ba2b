"""Device loads of an assignment of pieces to devices, kept up to date while pieces move.

A piece is a layer, or the layers of a group, which share a device. Loads are those of a throughput plan, as far as
they do not depend on how layers form slices: execution in the fastest state, and for each tensor its copies (to each
device once, to host once). What slices add (overheads, what an ``io: host`` device reads again, switches) is left to
the simulator. What works one at a time is each device, and each group of devices that exclude each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.core.device_classes import states_of
from mosaic_onnx.planner.core.lower_bounds import possible_states, scratch_alone

HOST = -1


def pieces_of(table: CostTable) -> tuple[tuple[int, ...], ...]:
    """Return the pieces: groups and single layers, by their first layer."""
    members: dict[int, list[int]] = {}
    for layer, group in enumerate(table.rows.group):
        members.setdefault(layer if group < 0 else -1 - group, []).append(layer)
    return tuple(tuple(layers) for layers in members.values())


def fastest_states(table: CostTable) -> Ints:
    """Return [L, D] the state in which each device runs each layer fastest.

    Where switching levels costs something, a device keeps to the level that is fastest for all, wherever that can run
    the layer. A state whose memory caps do not hold the layer alone cannot run it.
    """
    fastest = np.zeros((len(table.layer_names), len(table.device_names)), dtype=np.int64)
    layer_s = np.where(possible_states(table), table.layer_s, np.inf)
    for device in range(len(table.device_names)):
        states = np.array(states_of(table, device))
        seconds = layer_s[:, states]
        chosen = states[seconds.argmin(axis=1)]
        if table.switch_s[np.ix_(states, states)].any():
            usual = int(np.where(np.isfinite(seconds), seconds, 1e9).sum(axis=0).argmin())
            chosen = np.where(np.isfinite(seconds[:, usual]), states[usual], chosen)
        fastest[:, device] = chosen
    return fastest


class Loads:
    """An assignment and its loads."""

    def __init__(self, table: CostTable, pieces: Sequence[tuple[int, ...]], device_of: Sequence[int]) -> None:
        """Count the loads of an assignment.

        Args:
            table: costs.
            pieces: layers of each piece.
            device_of: [P] device of each piece.
        """
        self.table, self.pieces = table, pieces
        self.states = fastest_states(table)
        self.device_of = list(device_of)
        self.work = self._work().tolist()
        """[P, D] execution; inf where the device cannot run it"""
        self._tensors(pieces)
        self.parameters, self.scratch = self._memory()
        self.room = table.memory_bytes.tolist()
        """[D] bytes that parameters may still take"""
        self.capped = [room != math.inf for room in self.room]
        self.largest_scratch = [0] * len(self.room)
        """[D] workspace and activations of the neediest piece that the device has ever held"""
        self.members = table.one_at_a_time
        """[R] devices"""
        self._groups_of: list[list[int]] = [[] for _ in self.room]
        for number, devices in enumerate(self.members[len(self.room) :], len(self.room)):
            for device in devices:
                self._groups_of[device].append(number)
        self.seconds = [0.0] * len(self.room)
        """[R] load of each device, then of each exclusive group"""
        for piece, device in enumerate(self.device_of):
            self.seconds[device] += self.work[piece][device]
            self.room[device] -= self.parameters[piece][device]
            self.largest_scratch[device] = max(self.largest_scratch[device], self.scratch[piece][device])
        for tensor in range(len(self.maker)):
            self._charge(tensor, self.seconds, 1.0)
        loads = self.seconds
        self.seconds = [sum(loads[device] for device in devices) for devices in self.members]

    @property
    def device_count(self) -> int:
        """Return the number of devices."""
        return len(self.room)

    def changed(self, piece: int, device: int) -> dict[int, float]:
        """Return what each load becomes were the piece on that device; unchanged loads are left out.

        Empty where the device cannot take it.
        """
        source = self.device_of[piece]
        if not math.isfinite(self.work[piece][device]) or (self.capped[device] and not self._holds(device, piece)):
            return {}
        change = dict.fromkeys((source, device), 0.0)
        change[source] -= self.work[piece][source]
        change[device] += self.work[piece][device]
        for tensor in self.touched[piece]:
            self._add(change, tensor, -1.0)
        self.device_of[piece] = device
        for tensor in self.touched[piece]:
            self._add(change, tensor, 1.0)
        self.device_of[piece] = source
        if len(self.members) > len(self.room):
            for one, seconds in list(change.items()):
                for group in self._groups_of[one]:
                    change[group] = change.get(group, 0.0) + seconds
        return {one: self.seconds[one] + seconds for one, seconds in change.items()}

    def move(self, piece: int, device: int) -> None:
        """Put the piece on the device."""
        loads = self.changed(piece, device)
        source = self.device_of[piece]
        self.room[source] += self.parameters[piece][source]
        self.room[device] -= self.parameters[piece][device]
        self.largest_scratch[device] = max(self.largest_scratch[device], self.scratch[piece][device])
        self.device_of[piece] = device
        for one, seconds in loads.items():
            self.seconds[one] = seconds

    def bearing_on(self, load: int) -> list[int]:
        """Pieces whose move may change a load: those on its devices, and those that share a tensor with one."""
        devices = self.members[load]
        pieces = [piece for piece, one in enumerate(self.device_of) if one in devices]
        near = dict.fromkeys(pieces)
        for piece in pieces:
            for tensor in self.touched[piece]:
                near |= dict.fromkeys(self.readers[tensor])
                if self.maker[tensor] != HOST:
                    near[self.maker[tensor]] = None
        return list(near)

    @property
    def keeps_caps(self) -> bool:
        """Return whether every device holds its pieces' parameters, its slices as short as can be."""
        return all(room >= scratch for room, scratch in zip(self.room, self.largest_scratch, strict=True))

    def layer_states(self) -> Ints:
        """Return [L] state of each layer."""
        states = np.zeros(len(self.table.layer_names), dtype=np.int64)
        for piece, device in enumerate(self.device_of):
            for layer in self.pieces[piece]:
                states[layer] = self.states[layer, device]
        return states

    def _work(self) -> Floats:
        possible = np.where(possible_states(self.table), self.table.layer_s, np.inf)
        layer_s = np.take_along_axis(possible, self.states, axis=1)
        return np.stack([layer_s[list(layers)].sum(axis=0) for layers in self.pieces])

    def _memory(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return [P][D] bytes of weights, and the workspace and activations of the neediest layer when it is alone."""
        weights = np.take_along_axis(self.table.parameter_bytes, self.states, axis=1)
        scratch = np.take_along_axis(scratch_alone(self.table), self.states, axis=1)
        summed: list[list[int]] = [weights[list(layers)].sum(axis=0).tolist() for layers in self.pieces]
        largest: list[list[int]] = [scratch[list(layers)].max(axis=0).tolist() for layers in self.pieces]
        return summed, largest

    def _holds(self, device: int, piece: int) -> bool:
        """Return whether the device's memory has room for one more piece, its slices as short as can be."""
        room = self.room[device] - self.parameters[piece][device]
        return bool(room >= max(self.scratch[piece][device], self.largest_scratch[device]))

    def _tensors(self, pieces: Sequence[tuple[int, ...]]) -> None:
        """The tensors that cost something and leave their piece: maker, readers, and the way there."""
        table, rows = self.table, self.table.rows
        piece_of = {layer: piece for piece, layers in enumerate(pieces) for layer in layers}
        paid = table.to_host_s.any(axis=1) | table.from_host_s.any(axis=1)
        for seconds in table.direct_s.values():
            paid |= seconds > 0
        self.maker: list[int] = []
        self.maker_layer: list[int] = []
        self.readers: list[dict[int, int]] = []
        self.tensor: list[int] = []
        self.touched: list[list[int]] = [[] for _ in pieces]
        for tensor in np.flatnonzero(paid).tolist():
            layer = rows.producer[tensor]
            maker = piece_of[layer] if layer >= 0 else HOST
            readers = {piece_of[reader]: reader for reader in reversed(table.consumers[tensor])}
            readers.pop(maker, None)
            if not readers and not (rows.is_output[tensor] and layer >= 0):
                continue
            for piece in (*readers, *([maker] if maker != HOST else [])):
                self.touched[piece].append(len(self.maker))
            self.maker.append(maker)
            self.maker_layer.append(layer)
            self.readers.append(readers)
            self.tensor.append(tensor)

    def _charge(self, tensor: int, loads: list[float], sign: float) -> None:
        change: dict[int, float] = {}
        self._add(change, tensor, sign)
        for device, seconds in change.items():
            loads[device] += seconds

    def _add(self, change: dict[int, float], index: int, sign: float) -> None:
        """Add the copies of one tensor to the loads that they burden."""
        rows, tensor = self.table.rows, self.tensor[index]
        source = HOST if self.maker[index] == HOST else self.device_of[self.maker[index]]
        own = source != HOST and rows.own_memory[source]
        made_in = int(self.states[self.maker_layer[index], source]) if source != HOST else -1
        by_host = own and rows.is_output[tensor]
        seen = set()
        for piece, layer in self.readers[index].items():
            device = self.device_of[piece]
            if device == source or device in seen:
                continue
            seen.add(device)
            if not rows.own_memory[device]:
                by_host = True
                continue
            state = int(self.states[layer, device])
            direct = self.table.straight_s(tensor, made_in, state) if own else None
            if direct is not None:
                seconds = sign * direct
                change[source] = change.get(source, 0.0) + seconds
                change[device] = change.get(device, 0.0) + seconds
            else:
                by_host = True
                change[device] = change.get(device, 0.0) + sign * rows.from_host_s[tensor][state]
        if own and by_host:
            change[source] = change.get(source, 0.0) + sign * rows.to_host_s[tensor][made_in]
