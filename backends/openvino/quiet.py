"""Import of the ``openvino`` package without its usage statistics.

``import openvino`` imports its model converter, and that reports each import, and counts them in the user's home, to
its vendor's usage statistics (package ``openvino_telemetry``) unless the user has opted out. It works without
that package, which is hidden from it during the import here. Modules that a user's program imported before are not
changed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mosaic_onnx.core.errors import BackendError

_REPORTER = "openvino_telemetry"
_ONE_AT_A_TIME = threading.Lock()


def openvino_module() -> Any:
    """Return the ``openvino`` module.

    Raises:
        BackendError: it is not installed, or broken.
    """
    try:
        if "openvino" not in sys.modules:
            with _ONE_AT_A_TIME, _hidden(_REPORTER):
                import openvino
        import openvino
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be imported: {error}", "pip install 'mosaic-onnx[openvino]'") from error
    return openvino


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Make importing the module fail inside the context, as if it were not installed."""
    there = name in sys.modules
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's own word for "not installed"
    try:
        yield
    finally:
        if there and before is not None:
            sys.modules[name] = before
        else:
            del sys.modules[name]
