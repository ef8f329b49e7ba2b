"""Execution providers that come as plugins: their libraries, registered once a process, and the devices they offer."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from typing import Any

from mosaic_onnx.backends.ort_options import OrtOptions
from mosaic_onnx.errors import BackendError, UsageError

_PACKAGE_CALL = "package:"


class Plugins:
    """Plugin libraries that this process has registered. ONNX Runtime keeps them per process, so this does too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library_of: dict[str, str] = {}

    def devices(self, options: OrtOptions) -> list[Any]:
        """The ``OrtEpDevice`` that the options ask for, its library registered.

        Raises:
            BackendError: package or library is absent or cannot be loaded, or it offers no such device here.
            UsageError: two devices want the same provider from different libraries.
        """
        import onnxruntime as ort

        library = _library(options)
        with self._lock:
            registered = self._library_of.get(options.provider)
            if registered is None:
                try:
                    ort.register_execution_provider_library(options.provider, library)
                except Exception as error:  # the binding raises its own types
                    raise BackendError(f"{options.provider}: {library} cannot be loaded: {error}") from error
                self._library_of[options.provider] = library
            elif registered != library:
                raise UsageError(f"{options.provider} is already loaded from {registered}; {library} cannot join it")
        offered = [each for each in ort.get_ep_devices() if each.ep_name == options.provider]
        if options.hardware >= len(offered):
            raise BackendError(
                f"{options.provider} offers {len(offered)} devices here, none with number {options.hardware}",
                "its hardware or driver is absent; docs/devices.md says what it needs",
            )
        return [offered[options.hardware]]


def _library(options: OrtOptions) -> str:
    return options.library or str(_call(options.package, "get_library_path"))


def _call(package: str, function: str) -> object:
    if importlib.util.find_spec(package) is None:
        raise BackendError(f"Python package {package} is not installed", f"pip install {package.replace('_', '-')}")
    try:
        return getattr(importlib.import_module(package), function)()
    except Exception as error:  # a vendor's package may fail in any way
        raise BackendError(f"Python package {package}: {function}() failed: {error}") from error


def provider_options(options: OrtOptions) -> dict[str, str]:
    """Options for the provider, each ``package:FUNCTION`` replaced by what the package's function returns."""
    return {key: _resolved(options.package, value) for key, value in options.provider_options.items()}


def _resolved(package: str, value: str) -> str:
    if not value.startswith(_PACKAGE_CALL):
        return value
    return str(_call(package, value.removeprefix(_PACKAGE_CALL)))
