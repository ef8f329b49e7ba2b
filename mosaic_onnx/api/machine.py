"""Devices of this machine, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.backends.hardware.energy_meters import find_meters
from mosaic_onnx.core.progress import Note
from mosaic_onnx.discovery.health import Finding, examine
from mosaic_onnx.discovery.selection import Selection, participation, select


def find_devices(words: Sequence[str] = (), *, lower: bool = False) -> Selection:
    """Devices that are here, and those that take part.

    Args:
        words: names, devices files or shipped descriptions; none for the default set.
        lower: a budget of errors lets devices of lower precision into the default set.

    Raises:
        UsageError: a word names nothing.
    """
    return select(words, lower=lower)


def examine_machine(words: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Return what this machine offers a compilation, and what stands in its way.

    Args:
        words: names, devices files or shipped descriptions; none for the default set.

    Raises:
        UsageError: a word names nothing.
    """
    return examine(select(words), find_meters())


def select_aloud(
    devices: Sequence[str], note: Note, *, lower: bool = False, backends: Mapping[str, Backend] | None = None
) -> Selection:
    """The devices of a command, told first: who takes part, who does not, and why."""
    selection = select(devices, lower=lower, candidates=backends)
    for line in participation(selection):
        note(line)
    return selection
