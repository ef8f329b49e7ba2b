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
"""Where the model's inputs and outputs live; no device bears this name."""
_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Cost:
    """What one layer costs in one state; the ``*_bytes`` override the layer's own where given.

    There is one for every layer and state, up to millions: it is kept small.
    """

    seconds: float
    joules: float | None = None
    parameter_bytes: int | None = None
    workspace_bytes: int | None = None
    activation_bytes: int | None = None
    error: float | None = None
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
class TensorCopy:
    """The whole cost of one tensor over one copy entry; None keeps the entry's line."""

    seconds: float | None = None
    joules: float | None = None
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Copy:
    """What a transfer costs between two places: ``seconds_per_byte``·bytes + ``seconds``, joules likewise.

    ``source`` and ``destination`` are device names, state names or ``host``.
    """

    source: str
    destination: str
    seconds_per_byte: float = 0.0
    seconds: float = 0.0
    joules_per_byte: float = 0.0
    joules: float = 0.0
    tensors: Mapping[str, TensorCopy] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Switch:
    """What changing a device's level costs; ``source`` and ``destination`` are level names."""

    device: str
    source: str
    destination: str
    seconds: float = 0.0
    joules: float = 0.0
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Segment:
    """A measured slice: layers ``first``…``last`` in list order, in one state."""

    first: int
    last: int
    state: str
    seconds: float
    joules: float | None = None
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """What was measured of one model on one set of devices (``reference: profile format``, version 1)."""

    model_name: str
    devices: tuple[Device, ...]
    tensor_bytes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[ProfileLayer, ...]
    copies: tuple[Copy, ...] = ()
    switches: tuple[Switch, ...] = ()
    segments: tuple[Segment, ...] = ()
    copies_occupy_device: bool = False
    model_sha256: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)
    model_meta: Mapping[str, object] = field(default_factory=dict)
    tensor_meta: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @cached_property
    def states(self) -> tuple[str, ...]:
        """State names; ``s`` is the index here: devices in order, levels within."""
        return tuple(state for device in self.devices for state in device.states)
