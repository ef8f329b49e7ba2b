"""Compile one model in a child and print its cost: ``python -m bench.compiling.large_child MODEL OUT [-d …]``.

The CPU seconds inside ONNX Runtime's sessions and OpenVINO are subtracted; those of child processes (parsing, the ONNX
checker, shape inference, loading) are listed apart. Anonymous memory is held by this process; pages of a mapped weights
file are not counted.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.planning.peak import peak_bytes

WATCH_S = 0.05


class Meter:
    """Counts CPU seconds inside vendors' calls (outermost calls of this thread)."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._is_inside = False

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call with counting."""

        def counted(*args: Any, **words: Any) -> Any:
            if self._is_inside:
                return call(*args, **words)
            self._is_inside, began_s = True, time.process_time()
            try:
                return call(*args, **words)
            finally:
                self._is_inside = False
                self.seconds += time.process_time() - began_s

        return counted


class Watch(threading.Thread):
    """Records the largest anonymous memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0

    def run(self) -> None:
        """Sample the memory until the process ends."""
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.peak_bytes = max(self.peak_bytes, int(line.split()[1]) * 1024)
            time.sleep(WATCH_S)


def main(words: list[str]) -> int:
    """Compile with the command line's code and print one JSON object."""
    from mosaic_onnx import cli

    meter, watch = Meter(), Watch()
    _count_vendors(meter)
    watch.start()
    began_s = time.perf_counter()
    code = cli.run(["compile", *words, "--force", "-q"])
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "exit_code": code,
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - meter.seconds,
        "vendor_cpu_s": meter.seconds,
        "child_cpu_s": children.ru_utime + children.ru_stime,
        "rss_bytes": peak_bytes(),
        "anonymous_bytes": watch.peak_bytes,
    }
    print(json.dumps(figures))
    return code


def _count_vendors(meter: Meter) -> None:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    onnxruntime.InferenceSession.__init__ = meter.around(onnxruntime.InferenceSession.__init__)
    for name in ("run", "run_with_iobinding"):
        setattr(state.InferenceSession, name, meter.around(getattr(state.InferenceSession, name)))
    try:
        import openvino
    except ImportError:
        return
    for name in ("read_model", "compile_model"):
        setattr(openvino.Core, name, meter.around(getattr(openvino.Core, name)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
