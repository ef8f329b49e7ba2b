"""Execution providers in plugins: their libraries, registered once per process, and their devices."""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mosaic_onnx.backends.onnxruntime.memory import OrtMemory
from mosaic_onnx.backends.onnxruntime.options import OrtOptions
from mosaic_onnx.backends.onnxruntime.provider_facts import EXTRAS, facts_of
from mosaic_onnx.core.errors import BackendError, UsageError

_PACKAGE_CALL = "package:"


class Plugins:
    """The plugin libraries that this process has registered, as ONNX Runtime does per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library_of: dict[str, str] = {}
        self._first_options: dict[str, dict[str, str]] = {}
        self._turns: dict[str, threading.RLock] = {}

    def devices(self, options: OrtOptions) -> list[Any]:
        """Return the ``OrtEpDevice`` that the options name, after registering its library.

        Raises:
            BackendError: package or library is absent or cannot be loaded, or it offers no such device on this machine.
            UsageError: two devices use the same provider from different libraries.
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

    def facts(self, options: OrtOptions) -> dict[str, str]:
        """Return the device's kind of ``hardware`` (cpu, gpu, npu) and the provider's ``version``."""
        (chosen,) = self.devices(options)
        return {"hardware": chosen.device.type.name.lower(), "version": str(chosen.ep_metadata.get("version", ""))}

    def memory(self, options: OrtOptions, device: str) -> OrtMemory | None:
        """Return the provider's own memory; None where it shares host memory."""
        import onnxruntime as ort

        (chosen,) = self.devices(options)
        info = chosen.memory_info(ort.OrtDeviceMemoryType.DEFAULT)
        if info is None or info.name == "Cpu":
            return None
        new_value = partial(ort.OrtValue.ortvalue_from_shape_and_type, memory_info=info)
        return OrtMemory(device, new_value, self.turn(options))

    def turn(self, options: OrtOptions) -> AbstractContextManager[object]:
        """Return a context for using the provider: a lock where only one thread may use it at a time."""
        if not facts_of(options.provider).takes_turns:
            return nullcontext()
        with self._lock:
            return self._turns.setdefault(options.provider, threading.RLock())

    def claim_options(self, options: OrtOptions) -> None:
        """Record the provider options of a session that is about to be created.

        Raises:
            UsageError: the provider would keep the options of an earlier session instead.
        """
        if not facts_of(options.provider).keeps_first_options:
            return
        with self._lock:
            first = self._first_options.setdefault(options.provider, dict(options.provider_options))
        if first != dict(options.provider_options):
            raise UsageError(
                f"{options.provider} keeps the provider options of its first session in this process: {first}",
                "give all its devices the same provider options, or use one process for each",
            )


def _library(options: OrtOptions) -> str:
    return options.library or str(_call(options.package, "get_library_path"))


def is_installed(package: str) -> bool:
    """Return whether the Python package can be imported."""
    return importlib.util.find_spec(package) is not None


def installed_version(package: str) -> str:
    """Return the version of a Python package's distribution; empty where it is unknown."""
    try:
        return version(package.replace("_", "-"))
    except PackageNotFoundError:
        return ""


def vulkan_driver() -> dict[str, str]:
    """Return the file name of the Vulkan driver that the environment selects, on which measurements depend."""
    chosen = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES")
    return {"vulkan_driver": Path(chosen).name} if chosen else {}


def _call(package: str, function: str) -> object:
    if not is_installed(package):
        name = f"'mosaic-onnx[{EXTRAS[package]}]'" if package in EXTRAS else package.replace("_", "-")
        raise BackendError(f"Python package {package} is not installed", f"pip install {name}")
    try:
        return getattr(importlib.import_module(package), function)()
    except Exception as error:  # a vendor's package may raise anything
        raise BackendError(f"Python package {package}: {function}() failed: {error}") from error


def provider_options(options: OrtOptions) -> dict[str, str]:
    """Return the options for the provider, with ``package:FUNCTION`` replaced by the function's result."""
    return {key: _resolved(options.package, value) for key, value in options.provider_options.items()}


def _resolved(package: str, value: str) -> str:
    if not value.startswith(_PACKAGE_CALL):
        return value
    return str(_call(package, value.removeprefix(_PACKAGE_CALL)))
