"""What ONNX Runtime's built-in CUDA provider needs before its first session, and which GPU it finds."""

from __future__ import annotations

import subprocess
from functools import cache

_TIME_LIMIT_S = 10.0
_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


@cache
def preload() -> None:
    """Load the CUDA and cuDNN libraries that pip installed, where there are any; once a process.

    What is not there is left to the system's loader: the session then says what it misses.
    """
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


def gpu_words(number: int = 0) -> str:
    """Name and driver version of a GPU, as the driver tells them; empty where there is none."""
    try:
        told = subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=_TIME_LIMIT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = told.splitlines()
    return lines[number].strip() if number < len(lines) else ""
