"""Values: the work of one frame of a model under a schedule, as the simulation runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CopyTask:
    """A copy that occupies units.

    Attributes:
        seconds: how long.
        units: those that must be free.
        hops: copies that start when it ends.
        readers: slices that wait for it.
    """

    seconds: float
    units: tuple[int, ...]
    hops: tuple[int, ...]
    readers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SliceGraph:
    """One model's slices under a schedule. ``K`` slices.

    Attributes:
        states: [K] state of each slice.
        units: [K] unit of each slice.
        seconds: [K] execution, and what the unit needs around it.
        input_count: [K] arrivals that a slice waits for before it is ready.
        at_start: (slice, delay in seconds) of what the frame's arrival brings.
        after: [K] (reader, delay in seconds) of what the end of a slice brings.
        tail_s: [K] from the end of a slice until its outputs are at host.
        rest_s: [K] least time from the start of a slice to the end of the frame.
        copies: copies that occupy units; empty where none does.
        copies_at_start: those that the frame's arrival starts.
        copies_after: [K] those that the end of a slice starts.
        end_count: ends of slices and copies until the frame is complete.
    """

    states: tuple[int, ...]
    units: tuple[int, ...]
    seconds: tuple[float, ...]
    input_count: tuple[int, ...]
    at_start: tuple[tuple[int, float], ...]
    after: tuple[tuple[tuple[int, float], ...], ...]
    tail_s: tuple[float, ...]
    rest_s: tuple[float, ...]
    end_count: int
    copies: tuple[CopyTask, ...] = ()
    copies_at_start: tuple[int, ...] = ()
    copies_after: tuple[tuple[int, ...], ...] = ()
