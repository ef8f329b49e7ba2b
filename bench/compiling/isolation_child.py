"""Compile once, with devices isolated or not: ``python -m bench.compiling.isolation_child MODEL FOLDER EFFORT MODE``.

A process of its own for each compilation, as a user's is. It prints one object of JSON: seconds of wall clock and CPU.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast
from unittest import mock

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.discovery import selection as selections
from mosaic_onnx.isolation.backend import IsolatedBackend, isolated
from mosaic_onnx.pipeline.compilation import compile_model
from mosaic_onnx.pipeline.delivery import deliver
from mosaic_onnx.pipeline.efforts import EffortName

ISOLATED, IN_PROCESS = "isolated", "in process"


class _Harmless(IsolatedBackend):
    """A backend of which nothing is isolated: no device of it is taken for one that can crash."""

    def isolates(self, device: object) -> bool:
        return False


def not_isolated(candidates: Mapping[str, Backend]) -> dict[str, Backend]:
    """Return backends that are asked for devices, measured and run in this process."""
    return {
        name: _Harmless(one.inner, one.address) if isinstance(one, IsolatedBackend) else one
        for name, one in isolated(candidates).items()
    }


def main(model: Path, folder: Path, effort: EffortName, mode: str) -> None:
    """Find the devices, compile without a cache, write the bundle, and tell what that took."""
    began_s = time.perf_counter()
    with mock.patch.object(selections, "isolated", isolated if mode == ISOLATED else not_isolated):
        selection = selections.select()
    compiled = compile_model(model, selection, None, effort=effort)
    deliver(compiled, folder, force=True)
    wall_s = time.perf_counter() - began_s
    for one in selection.backends.values():
        if isinstance(one, IsolatedBackend):
            one.close()  # only what has ended counts among the children
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {"wall_s": wall_s, "own_cpu_s": _cpu_s(own), "children_cpu_s": _cpu_s(children)}
    print(json.dumps({**figures, "devices": [device.name for device in selection.chosen]}))


def _cpu_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), cast(EffortName, sys.argv[3]), sys.argv[4])
