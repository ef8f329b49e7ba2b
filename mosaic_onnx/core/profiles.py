"""The profile: all that planning needs, as frozen dataclasses. Its JSON form is in ``profile_file``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from mosaic_onnx.core.devices import Device

Source = Literal["measured", "modelled", "simulated"]
HOST = "host"
"""The place of the model's inputs and outputs; no device has this name."""
_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one layer in one state; the ``*_bytes`` override the layer's own where given.

    A profile holds up to millions of them, so it has slots.
    """

    seconds: float
    joules: float | None = None
    parameter_bytes: int | None = None
    workspace_bytes: int | None = None
    activation_bytes: int | None = None
    error: float | None = None
    seconds_std: float = 0.0
    """standard deviation of ``seconds`` over runs"""
    source: Source = "measured"
    meta: Mapping[str, object] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True)
class ProfileLayer:
    """One layer as the planner sees it.

    Attributes:
        name: unique among the layers.
        inputs: tensors that it reads.
        outputs: tensors that it makes.
        cost: by state name; a state that is absent or None cannot run the layer.
        reasons: by state name, why it cannot.
        group: layers of one group run on one device; empty for none.
        allowed: device names that may run it; None for all (the file's empty list says the same).
        nodes: node keys in the model.
        op_types: operator types of the nodes.
        activation_bytes: None means the bytes of its outputs.
    """

    name: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    cost: Mapping[str, Cost | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    parameter_bytes: int = 0
    workspace_bytes: int = 0
    activation_bytes: int | None = None
    group: str = ""
    allowed: tuple[str, ...] | None = None
    nodes: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorTransferCost:
    """The measured cost of transferring one tensor; None keeps the figure of the entry's line."""

    seconds: float | None = None
    joules: float | None = None
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TransferCost:
    """The cost of transfers between two places: ``seconds_per_byte``·bytes + ``seconds``, joules likewise.

    ``source`` and ``destination`` are device names, state names or ``host``.
    """

    source: str
    destination: str
    seconds_per_byte: float = 0.0
    seconds: float = 0.0
    joules_per_byte: float = 0.0
    joules: float = 0.0
    tensors: Mapping[str, TensorTransferCost] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """A link between two machines: ``seconds_per_byte``·bytes + ``seconds`` for a tensor, one tensor at a time.

    ``between`` names the machines; ``host`` is the one that holds the model's inputs and outputs.
    """

    between: tuple[str, str]
    seconds_per_byte: float = 0.0
    seconds: float = 0.0
    joules_per_byte: float = 0.0
    joules: float = 0.0
    tensors: Mapping[str, TensorTransferCost] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerSwitchCost:
    """The cost of changing a level before one layer; None keeps the entry's."""

    seconds: float | None = None
    joules: float | None = None
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class SwitchCost:
    """The cost of changing a device's level; ``source`` and ``destination`` are level names.

    ``layers`` has the costs of changes before slices that begin with these layers, by name.
    """

    device: str
    source: str
    destination: str
    seconds: float = 0.0
    joules: float = 0.0
    layers: Mapping[str, LayerSwitchCost] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredSlice:
    """A measured slice: layers ``first`` to ``last``, both included, in one state."""

    first: int
    last: int
    state: str
    seconds: float
    joules: float | None = None
    seconds_std: float = 0.0
    """standard deviation of ``seconds`` over runs"""
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """The measured costs of one model on one set of devices (profile format, version 1)."""

    model_name: str
    devices: tuple[Device, ...]
    tensor_bytes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[ProfileLayer, ...]
    copies: tuple[TransferCost, ...] = ()
    switches: tuple[SwitchCost, ...] = ()
    segments: tuple[MeasuredSlice, ...] = ()
    copies_occupy_device: bool = False
    exclusive: tuple[tuple[str, str], ...] = ()
    """Pairs of devices that share hardware and never run at once."""
    links: tuple[Link, ...] = ()
    """Between machines; copies over one link queue."""
    slowdowns: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """device -> other device -> factor from 1 on by which slices of the first take longer while the other works."""
    model_sha256: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)
    model_meta: Mapping[str, object] = field(default_factory=dict)
    tensor_meta: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @cached_property
    def states(self) -> tuple[str, ...]:
        """Return [S] the names of all states: devices in order, each device's levels in order."""
        return tuple(state for device in self.devices for state in device.states)
