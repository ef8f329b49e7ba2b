"""The state of this machine for compiling: devices, meters, frequencies, load, versions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from mosaic_onnx.backends.base import CostSource, SetsLevels
from mosaic_onnx.backends.hardware.cpu_clusters import cpu_clusters
from mosaic_onnx.backends.hardware.energy_meters import Meters
from mosaic_onnx.backends.hardware.levels import all_domains
from mosaic_onnx.backends.hardware.system import SystemFiles, read_text
from mosaic_onnx.core.process.cpu_cores import core_words, usable_cores
from mosaic_onnx.core.process.machine_load import OthersLoad, others_load
from mosaic_onnx.discovery.selection import Selection

Verdict = Literal["ok", "note", "absent"]
PACKAGES = ("mosaic-onnx", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "ortools", "numpy", "matplotlib")
BUSY_SHARE = 0.5
"""Runnable processes for each core, in the last minute, above which it is looked who runs."""
TAKEN_SHARE = 0.15
"""Of the cores' time that others take, above which figures are disturbed."""
_TOLD_CORES = 0.05
"""A smaller share of the host of a virtual machine is not told."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: what was looked at.
        verdict: ``ok``, ``note`` (works, with a remark) or ``absent``.
        text: what was found, with the way out where something is missing.
    """

    topic: str
    verdict: Verdict
    text: str


def examine(selection: Selection, meters: Meters, files: SystemFiles | None = None) -> tuple[Finding, ...]:
    """Return what is found on this machine, topic by topic.

    Args:
        selection: its devices.
        meters: its energy meters.
        files: of the system; None for this machine's.
    """
    files = files or SystemFiles()
    return (
        *_devices(selection),
        *_frequencies(selection, files),
        *_meters(meters),
        *_cores(files),
        _huge_pages(files),
        _load(),
        Finding("system", "ok", f"{platform.system()} {platform.release()}, Python {sys.version.split()[0]}"),
        Finding("packages", "ok", ", ".join(_versions())),
    )


def _devices(selection: Selection) -> Iterable[Finding]:
    chosen = {device.name for device in selection.chosen}
    why = {absent.name: absent.reason for absent in selection.left_out}
    for device in selection.devices:
        kind = f"{device.precision}, backend {device.backend}{', simulated' if device.simulated else ''}"
        if device.name in chosen:
            yield Finding(f"device {device.name}", "ok", f"takes part by default ({kind})")
        else:
            yield Finding(f"device {device.name}", "note", f"left out by default ({kind}): {why.get(device.name, '')}")
    for absent in selection.absent:
        yield Finding(f"device {absent.name}", "absent", absent.reason)


def _frequencies(selection: Selection, files: SystemFiles) -> Iterable[Finding]:
    """The levels of each real device, then the domains that the system has."""
    for device in selection.chosen:
        backend = selection.backends.get(device.backend)
        if isinstance(backend, CostSource) or not isinstance(backend, SetsLevels):
            continue
        offer = backend.offered_levels(device)
        words = ", ".join(level.name for level in offer.levels)
        text = f"--levels can set {words}" if words else offer.why_not
        yield Finding(f"frequencies of {device.name}", "ok" if words else "absent", text)
    for domain in all_domains(files):
        now = domain.read_hz()
        speed = "" if now is None else f", now {now / 1e6:.0f} MHz"
        governor = f", governor {domain.governor}" if domain.governor else ""
        text = f"{len(domain.frequencies_hz)} frequencies{governor}{speed}"
        yield Finding(f"frequency domain {domain.name}", "note" if domain.why_not() else "ok", text)


def _meters(meters: Meters) -> Iterable[Finding]:
    for meter in meters.meters:
        yield Finding(f"energy meter {meter.name}", "ok", "can be read: profiles hold joules")
    for absent in meters.absent:
        yield Finding(f"energy meter {absent.name}", "absent", absent.reason)
    if not meters.meters:
        yield Finding("energy", "note", "without a meter, --watts DEVICE=IDLE,BUSY models joules")


def _cores(files: SystemFiles) -> Iterable[Finding]:
    usable = usable_cores()
    yield Finding("cores", "ok", f"this process may use {len(usable)}: {core_words(usable)}")
    for cluster in cpu_clusters(files, None if files.is_recorded else usable):
        yield Finding(f"CPU cluster {cluster.name}", "ok", f"cores {core_words(cluster.cores)}")


def _huge_pages(files: SystemFiles) -> Finding:
    setting = read_text(files.path("kernel", "mm", "transparent_hugepage", "enabled"))
    if setting is None:
        return Finding("huge pages", "absent", "this system does not offer them")
    chosen = next((word.strip("[]") for word in setting.split() if word.startswith("[")), setting)
    if chosen == "never":
        return Finding("huge pages", "note", "forbidden here (never): models with large weights run 3 to 12 % slower")
    return Finding("huge pages", "ok", f"allowed ({chosen}): large weights are put on them")


def _load() -> Finding:
    if not hasattr(os, "getloadavg"):
        return Finding("load", "absent", "this system does not tell its load")
    load = others_load()
    text = _load_text() if load is None else f"{_load_text()}; now {_taken_text(load)}"
    if _is_busy(load):
        return Finding("load", "note", f"{text}: measurements will be disturbed, stop other programs first")
    return Finding("load", "ok", text)


def _load_text() -> str:
    return f"{os.getloadavg()[0]:.1f} on {len(usable_cores())} cores in the last minute"


def _taken_text(load: OthersLoad) -> str:
    host = f", the host {load.host:.1f}" if load.host >= _TOLD_CORES else ""
    return f"other programs take {load.programs:.1f} of {len(usable_cores())} cores{host}"


def _is_busy(load: OthersLoad | None) -> bool:
    """Return whether others take so much that figures are disturbed; by the last minute's load where nobody tells."""
    if load is None:
        return os.getloadavg()[0] > BUSY_SHARE * len(usable_cores())
    return load.programs + load.host > TAKEN_SHARE * len(usable_cores())


def busy_text() -> str:
    """Return what disturbs measurements on this machine now; empty where nothing does, or nobody tells.

    The load of the last minute, which costs nothing to read, may still be that of a compilation just before: where it
    is high, it is watched for a moment what others take.
    """
    if not hasattr(os, "getloadavg") or os.getloadavg()[0] <= BUSY_SHARE * len(usable_cores()):
        return ""
    load = others_load()
    if not _is_busy(load):
        return ""
    return f"the machine is busy ({f'load {_load_text()}' if load is None else _taken_text(load)})"


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
