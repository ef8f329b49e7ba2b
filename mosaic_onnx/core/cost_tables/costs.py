"""The cost table: the profile as arrays, the planner's only input.

Axes: ``L`` layers, ``S`` states, ``T`` tensors, ``D`` devices. Index ``-1`` means "none" (a tensor's producer when
it is a model input, a layer's group when it has none).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CostTable:
    """Arrays made from a profile; made by ``core.cost_tables.cost_table``."""

    layer_names: tuple[str, ...]
    state_names: tuple[str, ...]
    device_names: tuple[str, ...]
    tensor_names: tuple[str, ...]

    state_device: Ints
    """[S] device index of each state."""
    layer_s: Floats
    """[L, S] seconds; inf where the state cannot run the layer (unsupported or not allowed)."""
    layer_j: Floats | None
    """[L, S] joules; inf where ``layer_s`` is; None where the profile has no energy."""
    parameter_bytes: Ints
    """[L, S] bytes of weights."""
    workspace_bytes: Ints
    """[L, S] bytes of scratch memory."""
    activation_bytes: Ints
    """[L, S] bytes that count for devices whose activation memory is ``sum``."""

    layer_inputs: tuple[tuple[int, ...], ...]
    """[L] tensors that each layer reads, each once."""
    layer_outputs: tuple[tuple[int, ...], ...]
    """[L] tensors that each layer makes."""
    tensor_bytes: Ints
    """[T] bytes."""
    producer: Ints
    """[T] the layer that makes the tensor; -1 for the model's inputs."""
    consumers: tuple[tuple[int, ...], ...]
    """[T] layers that read it, ascending."""
    is_output: Bools
    """[T] it is an output of the model, so it ends at host."""

    group: Ints
    """[L] group number; -1 for none."""
    own_memory: Bools
    """[D] the device has a memory of its own (some copy names it); the others share host's."""
    io_host: Bools
    """[D] the device keeps nothing between slices."""
    activation_sum: Bools
    """[D] activations count as their sum, not as the largest live set."""
    slice_s: Floats
    """[D] seconds added once per slice that was not measured as a whole."""
    slice_j: Floats
    """[D] joules, likewise."""
    memory_bytes: Floats
    """[D] device-wide cap; inf for none."""
    slice_memory_bytes: Floats
    """[D] cap per slice; inf for none."""
    idle_w: Floats
    """[D] watts drawn over the whole run."""

    to_host_s: Floats
    """[T, S] seconds to bring a tensor that state ``s`` made to host; 0 where its device shares host's memory."""
    to_host_j: Floats
    """[T, S] joules, likewise."""
    from_host_s: Floats
    """[T, S] seconds to bring a tensor from host to a first reader in state ``s``; 0 where memory is shared."""
    from_host_j: Floats
    """[T, S] joules, likewise."""
    direct_s: Mapping[tuple[int, int], Floats]
    """(source state, destination state) -> [T] seconds; only pairs of resident devices with a direct entry, inf where
    the tensor goes by way of host because that is cheaper."""
    direct_j: Mapping[tuple[int, int], Floats]
    """(source state, destination state) -> [T] joules, inf where the seconds are."""

    switch_s: Floats
    """[S, S] seconds to change a device from one of its levels to another; 0 elsewhere."""
    switch_j: Floats
    """[S, S] joules, likewise."""
    segments: Mapping[tuple[int, int, int], tuple[float, float | None]]
    """(first, last, state) -> (seconds, joules or None) of measured slices."""
    copies_occupy_device: bool
    layer_error: Floats | None = None
    """[L, S] relative error that a layer adds to the model's outputs; 0 where the profile gives none for a layer and
    state; None where it gives none at all."""

    max_slice_count: Floats | None = None
    """[D] most slices that the device runs in one plan; inf for any number; None where no device has a limit."""
    layer_switches: Mapping[tuple[int, int], tuple[Floats, Floats]] = field(default_factory=dict)
    """(state, state) -> [L] seconds and [L] joules of the switch before a slice that begins with each layer; only pairs
    whose cost depends on the layer, for which ``switch_s`` and ``switch_j`` have the least."""
    link_names: tuple[str, ...] = ()
    """The links between machines, over each of which one tensor goes at a time."""
    link_of: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(source device, destination device) -> the link that a copy holds; -1 for host; absent for copies over none."""
    slowdown: tuple[tuple[float, ...], ...] | None = None
    """[D, D] factor by which slices of the first device take longer while the second works; None where none does."""

    exclusive: tuple[tuple[int, ...], ...] = ()
    """[D] devices that never run while this one does; empty where none exclude each other."""

    def straight_s(self, tensor: int, source: int, destination: int) -> float | None:
        """Return seconds of the direct copy of a tensor between two states; None where it goes by way of host."""
        column = self.direct_s.get((source, destination))
        if column is None:
            return None
        seconds = float(column[tensor])
        return None if seconds == float("inf") else seconds

    @cached_property
    def exclusive_groups(self) -> tuple[tuple[int, ...], ...]:
        """Return the largest sets of devices of which any two exclude each other."""
        return tuple(_maximal_groups(self.exclusive))

    @cached_property
    def one_at_a_time(self) -> tuple[tuple[int, ...], ...]:
        """Return the devices of which one works at any time: each device by itself, then each exclusive group."""
        return (*((device,) for device in range(len(self.device_names))), *self.exclusive_groups)

    @cached_property
    def rows(self) -> TableRows:
        """Return the arrays as plain lists, made once: reading single elements of lists is several times faster."""
        return TableRows(self)


def _maximal_groups(exclusive: tuple[tuple[int, ...], ...]) -> Iterator[tuple[int, ...]]:
    """Yield the maximal sets of devices of which any two exclude each other (Bron and Kerbosch, 1973)."""

    def grow(group: set[int], open_: set[int], closed: set[int]) -> Iterator[tuple[int, ...]]:
        if not open_ and not closed and len(group) > 1:
            yield tuple(sorted(group))
        for device in sorted(open_):
            others = set(exclusive[device])
            yield from grow(group | {device}, open_ & others, closed & others)
            open_ = open_ - {device}
            closed = closed | {device}

    return grow(set(), {device for device, others in enumerate(exclusive) if others}, set())


class TableRows:
    """A cost table's arrays as plain Python lists of the same names, each made when it is first asked for."""

    state_device: list[int]
    layer_s: list[list[float]]
    parameter_bytes: list[list[int]]
    workspace_bytes: list[list[int]]
    activation_bytes: list[list[int]]
    tensor_bytes: list[int]
    producer: list[int]
    is_output: list[bool]
    group: list[int]
    own_memory: list[bool]
    io_host: list[bool]
    activation_sum: list[bool]
    slice_s: list[float]
    slice_j: list[float]
    memory_bytes: list[float]
    slice_memory_bytes: list[float]
    to_host_s: list[list[float]]
    to_host_j: list[list[float]]
    from_host_s: list[list[float]]
    from_host_j: list[list[float]]
    switch_s: list[list[float]]
    switch_j: list[list[float]]

    def __init__(self, table: CostTable) -> None:
        self._table = table

    def __getattr__(self, name: str) -> object:
        """Make the list of an array and keep it; Python calls this only for attributes that are not set yet."""
        array = getattr(self._table, name, None) if name in TableRows.__annotations__ else None
        if array is None:
            raise AttributeError(f"a cost table has no rows {name!r}")
        rows = array.tolist()
        setattr(self, name, rows)
        return rows

    @cached_property
    def layer_j(self) -> list[list[float]] | None:
        """Return the joules of each layer and state; None where the profile has no energy."""
        return None if self._table.layer_j is None else self._table.layer_j.tolist()

    @cached_property
    def touched_bytes(self) -> Ints:
        """Return [L] bytes of the tensors that each layer reads or makes: what is live while it runs alone."""
        table, sizes = self._table, self.tensor_bytes
        pairs = zip(table.layer_inputs, table.layer_outputs, strict=True)
        return np.array([sum(sizes[t] for t in {*inputs, *outputs}) for inputs, outputs in pairs], dtype=np.int64)

    @cached_property
    def before(self) -> list[tuple[int, ...]]:
        """Return [L] the layers that make what each layer reads, each once, ascending."""
        maker = self.producer
        return [tuple(sorted({maker[t] for t in inputs} - {-1})) for inputs in self._table.layer_inputs]

    @cached_property
    def after(self) -> list[tuple[int, ...]]:
        """Return [L] the layers that read what each layer makes, each once, ascending."""
        readers = self._table.consumers
        return [tuple(sorted({r for t in outputs for r in readers[t]})) for outputs in self._table.layer_outputs]

    @cached_property
    def output_tensors(self) -> list[int]:
        """Return the model's outputs, ascending."""
        return [tensor for tensor, output in enumerate(self.is_output) if output]

    @cached_property
    def idle_w(self) -> float:
        """Return the watts that all devices together draw over the whole run."""
        return float(self._table.idle_w.sum())
