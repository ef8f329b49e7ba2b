"""Devices chosen while the schedule runs: a slice goes where it would end first (Band's shortest expected latency)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.scenarios.configurations import Option, unit_options
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule


class Running(NamedTuple):
    """The work in progress of a unit."""

    frame: int
    slice: int
    start_s: float


def copy_seconds(table: CostTable, tensor: int, source: int, destination: int) -> float:
    """Return the seconds that a tensor takes from its maker's state to its first reader's.

    Args:
        table: costs.
        tensor: which.
        source: state that made it; -1 for a model input, which is at host.
        destination: state of the reader; -1 for host.
    """
    rows = table.rows
    if source >= 0 and destination >= 0 and rows.state_device[source] == rows.state_device[destination]:
        device = rows.state_device[source]
        if not (rows.own_memory[device] and rows.io_host[device]):
            return 0.0
    elif source >= 0 and destination >= 0:
        straight = table.straight_s(tensor, source, destination)
        if straight is not None:
            return straight
    out = rows.to_host_s[tensor][source] if source >= 0 else 0.0
    return out + (rows.from_host_s[tensor][destination] if destination >= 0 else 0.0)


class _Model(NamedTuple):
    """The facts of one model that late binding needs.

    Attributes:
        options: [K] ways to run each slice.
        reads: [K] (tensor, slice that makes it or -1).
        outputs: [K] outputs of the model that the slice makes.
    """

    table: CostTable
    options: tuple[tuple[Option, ...], ...]
    reads: tuple[tuple[tuple[int, int], ...], ...]
    outputs: tuple[tuple[int, ...], ...]


class Binder:
    """Picks the unit of each slice when its inputs are made, and remembers it."""

    def __init__(
        self,
        instance: Instance,
        schedule: Schedule,
        ready: Sequence[Sequence[object]],
        running: Sequence[Running | None],
    ) -> None:
        """Prepare every model's options.

        Args:
            instance: the scenario with costs.
            schedule: its slices.
            ready: [U] the simulation's queues.
            running: [U] what the simulation's units run.
        """
        self._running = running
        self._models = [
            _model(model.table, proposal, instance)
            for model, proposal in zip(instance.models, schedule.proposals, strict=True)
        ]
        self._queued_s = [0.0] * len(ready)
        self._free_s = [0.0] * len(ready)
        self._chosen: dict[tuple[int, int], Option] = {}

    def bind(self, now: float, frame: int, model: int, k: int) -> float:
        """Choose where a slice runs; seconds until its inputs are there."""
        known = self._models[model]
        best: tuple[float, float, Option] | None = None
        for option in known.options[k]:
            delay = max((self._delay(known, frame, read, option.state) for read in known.reads[k]), default=0.0)
            free_s = max(self._free_s[option.unit], now) if self._running[option.unit] else now
            end_s = max(now + delay, free_s + self._queued_s[option.unit]) + option.seconds
            if best is None or end_s < best[0]:
                best = end_s, delay, option
        if best is None:
            raise InfeasibleError(f"no device can run slice {k} of model {model}")
        _, delay, option = best
        self._chosen[frame, k] = option
        self._queued_s[option.unit] += option.seconds
        return delay

    def unit(self, frame: int, k: int) -> int:
        """Return the unit that was chosen for a slice."""
        return self._chosen[frame, k].unit

    def started(self, frame: int, k: int, now: float) -> tuple[int, float]:
        """Note that a slice starts; its state and seconds."""
        option = self._chosen[frame, k]
        self._queued_s[option.unit] = max(0.0, self._queued_s[option.unit] - option.seconds)
        self._free_s[option.unit] = now + option.seconds
        return option.state, option.seconds

    def forget(self, frame: int, k: int) -> None:
        """Take a slice of a dropped frame off its unit's queue."""
        option = self._chosen[frame, k]
        self._queued_s[option.unit] = max(0.0, self._queued_s[option.unit] - option.seconds)

    def tail_s(self, frame: int, model: int, k: int) -> float:
        """Return seconds from a slice's end until the model's outputs that it makes are at host."""
        known, state = self._models[model], self._chosen[frame, k].state
        return max((copy_seconds(known.table, tensor, state, -1) for tensor in known.outputs[k]), default=0.0)

    def _delay(self, known: _Model, frame: int, read: tuple[int, int], state: int) -> float:
        tensor, maker = read
        source = self._chosen[frame, maker].state if maker >= 0 else -1
        return copy_seconds(known.table, tensor, source, state)


def _model(table: CostTable, proposal: Proposal, instance: Instance) -> _Model:
    slice_of = {layer: k for k, placed in enumerate(proposal) for layer in placed.layers}
    reads, outputs = [], []
    for k, placed in enumerate(proposal):
        tensors = dict.fromkeys(t for layer in placed.layers for t in table.layer_inputs[layer])
        makers = {tensor: slice_of.get(table.rows.producer[tensor], -1) for tensor in tensors}
        reads.append(tuple((tensor, maker) for tensor, maker in makers.items() if maker != k))
        made = (t for layer in placed.layers for t in table.layer_outputs[layer])
        outputs.append(tuple(tensor for tensor in made if table.rows.is_output[tensor]))
    ways = tuple(
        tuple(
            option._replace(seconds=option.seconds + instance.unit_times[option.unit].turn_s)
            for option in unit_options(table, placed.layers, instance.unit_of_state)
        )
        for placed in proposal
    )
    return _Model(table, ways, tuple(reads), tuple(outputs))
