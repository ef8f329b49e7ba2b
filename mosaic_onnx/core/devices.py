"""Devices: the places that run slices, as the planner and the backends see them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Io = Literal["resident", "host"]
ActivationMemory = Literal["live", "sum"]
OptionValue = str | int | float | bool


@dataclass(frozen=True)
class Level:
    """One frequency/voltage operating point of a device."""

    name: str
    frequency_hz: float = 0.0
    voltage_v: float = 0.0
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Device:
    """A place that runs slices.

    Attributes:
        name: what the user calls it (``cpu``, ``gpu0``); holds no ``@`` and is never ``host``.
        backend: name of the backend (entry point) that runs it.
        precision: what it computes in (``f32``, ``bf16``, ``f16``, ``int8``); an attribute of the device.
        simulated: its times are not those of real hardware.
        levels: operating points, lowest first; empty where it has none.
        io: ``resident`` keeps tensors between slices, ``host`` brings all of them in and out for every slice.
        slice_seconds: time added once per slice.
        slice_joules: energy added once per slice.
        memory_bytes: cap on all slices together; None where there is none.
        slice_memory_bytes: cap on each slice; None where there is none.
        max_slice_count: most slices of a plan that it runs (an accelerator that takes a few subgraphs); None for any.
        activation_memory: how the activations of a slice count (``reference: profile format``).
        idle_w: power drawn over the whole run whatever it does.
        options: the backend's own options (threads, affinity, provider, library, …).
        machine: the machine in whose memory or at whose bus it works; empty for the one whose memory is ``host``.
        meta: free facts that nothing here reads.
        host: another machine that the device belongs to (``ssh://user@board``); empty for this one. It is measured
            there; nothing of it runs here.
    """

    name: str
    backend: str = ""
    precision: str = "f32"
    simulated: bool = False
    levels: tuple[Level, ...] = ()
    io: Io = "resident"
    slice_seconds: float = 0.0
    slice_joules: float = 0.0
    memory_bytes: int | None = None
    slice_memory_bytes: int | None = None
    max_slice_count: int | None = None
    activation_memory: ActivationMemory = "live"
    idle_w: float = 0.0
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)
    host: str = ""
    machine: str = ""

    @property
    def states(self) -> tuple[str, ...]:
        """Return the names of its states: ``device`` where it has no levels, else ``device@level``."""
        return tuple(f"{self.name}@{level.name}" for level in self.levels) or (self.name,)


def names_a_file(word: str) -> bool:
    """Return whether a word after ``-d`` means a devices file: it ends in ``.toml`` or is a path with a folder.

    A bare word never does, so that no file which happens to lie in the current folder is read in a device's place.
    """
    return word.endswith(".toml") or "/" in word or os.sep in word


def device_of(state: str) -> str:
    """Return the device's name in a state's name."""
    return state.partition("@")[0]
