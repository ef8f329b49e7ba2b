"""The effect of running one more slice: the transfers that it pays for, and where tensors are afterwards.

The rules are those of ``core.transfers``, applied to a partial plan: a tensor that layers yet to run will read is known
by the places that hold it (bit 0 is host's memory, bit 1 + d the memory of device d) and the state that made it.
"""

from __future__ import annotations

from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.lower_bounds import places_of_states
from mosaic_onnx.planner.core.transfers import HOST_MEMORY
from mosaic_onnx.planner.exhaustive.slice_options import bits

LiveTensor = tuple[int, int, int]
"""(tensor, places as bits, state that made it; -1 where that no longer matters)"""
END = -1
"""In place of an index into the arrival times: the end of the slice that runs now."""


class Effect(NamedTuple):
    """The transfers of a slice, and the tensors afterwards.

    ``arrivals`` and ``times`` refer to the arrival times of the live tensors before the slice: one for each tensor and
    place, in the order of the tensors and of their places.
    """

    seconds: float
    """of all its transfers"""
    joules: float
    loads: tuple[tuple[int, float], ...]
    """(device, seconds) for each transfer that names it, and (D + link, seconds) for each that goes over one"""
    arrivals: tuple[tuple[int, float], ...]
    """(index of an arrival time, seconds after it) for each input; the slice starts after all of them"""
    tensors: tuple[LiveTensor, ...]
    """the live tensors after the slice"""
    times: tuple[tuple[int, float], ...]
    """(index or ``END``, seconds after it) for each of their arrival times"""
    outputs_s: float
    """seconds after the slice's end until the model's outputs that it makes are at host"""


class Transfers:
    """Applies slices to live tensors; results are kept."""

    def __init__(self, table: CostTable) -> None:
        self.table, self.rows = table, table.rows
        self.place: list[int] = places_of_states(table).tolist()
        self.readers = [sum(1 << reader for reader in readers) for readers in table.consumers]
        self.sends_directly = {source for source, _ in table.direct_s}
        self._known: dict[tuple[tuple[LiveTensor, ...], int, int, int], Effect] = {}

    def inputs(self) -> tuple[LiveTensor, ...]:
        """Return the live tensors before anything ran: the model's inputs, at host."""
        return tuple((t, 1, -1) for t, maker in enumerate(self.rows.producer) if maker < 0 and self.readers[t])

    def effect(self, tensors: tuple[LiveTensor, ...], done: int, layers: int, state: int) -> Effect:
        """Return what running ``layers`` in ``state`` moves, given the live tensors and the layers done before."""
        key = tensors, done, layers, state
        if key not in self._known:
            self._known[key] = _Mover(self, state).run(tensors, done | layers, layers)
        return self._known[key]


class _Mover:
    """Collects one effect."""

    def __init__(self, shared: Transfers, state: int) -> None:
        self.shared, self.table, self.rows, self.state = shared, shared.table, shared.rows, state
        self.device = self.rows.state_device[state]
        self.own = 1 << shared.place[state]
        self.keeps = self.own == 1 or not self.rows.io_host[self.device]
        self.seconds = self.joules = 0.0
        self.loads: list[tuple[int, float]] = []
        self.arrivals: list[tuple[int, float]] = []
        self.after: list[tuple[LiveTensor, dict[int, tuple[int, float]]]] = []

    def run(self, tensors: tuple[LiveTensor, ...], done: int, layers: int) -> Effect:
        index = 0
        for t, places, maker in tensors:
            times = {}
            for place in bits(places):
                times[place] = index, 0.0
                index += 1
            if self.shared.readers[t] & layers:
                self._bring(t, times, maker)
            if self.shared.readers[t] & ~done:
                self._keep(t, maker, times)
        outputs_s = self._make(done, layers)
        self.after.sort(key=lambda item: item[0])
        return Effect(
            self.seconds,
            self.joules,
            tuple(self.loads),
            tuple(self.arrivals),
            tuple(tensor for tensor, _ in self.after),
            tuple(times[place] for _, times in self.after for place in sorted(times)),
            outputs_s,
        )

    def _bring(self, t: int, times: dict[int, tuple[int, float]], maker: int) -> None:
        """Bring a tensor to where the slice runs; ``times`` gains the places that it reaches and that keep it."""
        place = self.shared.place[self.state]
        if place in times and self.keeps:
            self.arrivals.append(times[place])
            return
        seconds = self.table.straight_s(t, maker, self.state)
        if seconds is not None:
            source = self.rows.state_device[maker]
            self._pay(seconds, float(self.table.direct_j[maker, self.state][t]), source, self.device)
            index, late = times[self.shared.place[maker]]
            times[place] = index, late + seconds
            self.arrivals.append(times[place])
            return
        if 0 not in times:
            times[0] = self._to_host(t, maker, times[self.shared.place[maker]])
        if place == 0:
            self.arrivals.append(times[0])
            return
        seconds = self.rows.from_host_s[t][self.state]
        self._pay(seconds, self.rows.from_host_j[t][self.state], HOST_MEMORY, self.device)
        index, late = times[0]
        self.arrivals.append((index, late + seconds))
        if self.keeps:
            times[place] = index, late + seconds

    def _to_host(self, t: int, maker: int, from_time: tuple[int, float]) -> tuple[int, float]:
        seconds = self.rows.to_host_s[t][maker]
        self._pay(seconds, self.rows.to_host_j[t][maker], self.rows.state_device[maker], HOST_MEMORY)
        return from_time[0], from_time[1] + seconds

    def _pay(self, seconds: float, joules: float, source: int, destination: int) -> None:
        self.seconds += seconds
        self.joules += joules
        self.loads.extend((device, seconds) for device in (source, destination) if device != HOST_MEMORY)
        link = self.table.link_of.get((source, destination)) if self.table.link_names else None
        if link is not None:
            self.loads.append((len(self.table.device_names) + link, seconds))

    def _keep(self, t: int, maker: int, times: dict[int, tuple[int, float]]) -> None:
        """Note a tensor that layers yet to run will read."""
        matters = maker >= 0 and (0 not in times or maker in self.shared.sends_directly)
        places = sum(1 << place for place in times)
        self.after.append(((t, places, maker if matters else -1), times))

    def _make(self, done: int, layers: int) -> float:
        """Note the tensors that the slice makes; return the seconds until its outputs of the model are at host."""
        outputs_s = 0.0
        place = self.shared.place[self.state]
        for layer in bits(layers):
            for t in self.table.layer_outputs[layer]:
                times = {place: (END, 0.0)}
                if place and (self.rows.is_output[t] or (self.shared.readers[t] & ~layers and not self.keeps)):
                    times[0] = self._to_host(t, self.state, times[place])
                    if self.rows.is_output[t]:
                        outputs_s = max(outputs_s, times[0][1])
                if not self.keeps:
                    times.pop(place)
                if self.shared.readers[t] & ~done:
                    self._keep(t, self.state, times)
        return outputs_s
