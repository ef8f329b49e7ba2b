"""The facts of a machine that its measurements depend on."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPU_FACTS = ("model name", "flags", "features", "cpu part", "cpu implementer", "hardware")


@dataclass(frozen=True)
class MachineFacts:
    """The facts of a machine that its measurements depend on.

    Attributes:
        fingerprint: of its hardware and system.
        versions: of its backends, providers and drivers.
    """

    fingerprint: Mapping[str, str | int]
    versions: Mapping[str, str]


@cache
def fingerprint() -> dict[str, str | int]:
    """Return the facts that kernels' speed depends on; part of every cache key and of the profile's ``meta``.

    Host names and serial numbers are left out, since a profile may be shared.
    """
    facts = _cpu_facts()
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": facts.get("model name", platform.processor()),
        "cpu_facts": hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16],
        "core_count": _core_count(),
    }


def _core_count() -> int:
    """Return the number of cores that this process may use (a container may have fewer than the machine)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_facts() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found: dict[str, set[str]] = {}
    for key, value in re.findall(r"^([^\t:\n]+?)\s*:[ \t]*(.*)$", text, re.MULTILINE):
        if key.lower() in _CPU_FACTS:
            found.setdefault(key.lower(), set()).add(value.strip())
    return {key: " | ".join(sorted(values)) for key, values in found.items()}
