"""Measure a device of another machine: the measuring child runs there, started by the system's ssh client.

The machine needs Python 3.10 or later with numpy, onnx, onnxruntime and this package; nothing else of the package's
dependencies is imported there. Each slice is sent once, by its digest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx
from onnx.external_data_helper import load_external_data_for_model

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.isolation.process import ChildProcess, Wait
from mosaic_onnx.profiling.measuring.blobs import packed
from mosaic_onnx.profiling.measuring.board_host import BoardHost, parse_host
from mosaic_onnx.profiling.measuring.worker import CHILD, ChildMeter

Json = Any


class RemoteProcess(ChildProcess):
    """A measuring child on another machine."""

    def __init__(self, host: BoardHost, name: str, addresses: Mapping[str, str]) -> None:
        """Prepare; ssh starts with the first request.

        Args:
            host: the machine.
            name: what messages call the child.
            addresses: ``module:NAME`` of each backend, there as here.
        """
        super().__init__(name, addresses)
        self._host = host

    def _command(self) -> list[str]:
        return self._host.command(CHILD)

    def _setup(self) -> dict[str, Json]:
        return {**super()._setup(), "marks": None, "memory_limit_bytes": None, "parent": None}

    def _send(self, request: Mapping[str, Json], wait: Wait) -> bytes:
        line, blobs = packed(request)
        asked = self._exchange(line, wait)
        try:
            missing = json.loads(asked)["missing"]
        except (ValueError, TypeError, KeyError):
            return asked  # the child reported that it died
        last = replace(wait, limit_s=max(wait.limit_s, time.monotonic() - wait.began_s + 1.0))
        return self._exchange(b"".join(blobs[name] for name in missing), last)


class RemoteMeter(ChildMeter):
    """A ``Meter`` whose device is measured on another machine."""

    def __init__(self, address: str, device: Device, limit_s: float) -> None:
        """Prepare; ssh starts with the first request.

        Args:
            address: ``module:NAME`` of the backend, there as here.
            device: the device to measure; its ``host`` is the machine's address.
            limit_s: how long one request may take, the connection's start included.

        Raises:
            UsageError: the device's host is not an ssh address.
        """
        self._host = parse_host(device.host)
        child = RemoteProcess(self._host, device.name, {device.backend: address})
        super().__init__(child, replace(device, host=""), limit_s)

    def machine(self) -> dict[str, Json]:
        """Return the facts of the machine and the versions of its runtimes: part of every cache key.

        Raises:
            BackendError: the machine cannot be reached, or lacks something.
        """
        answer = self._ask("machine", {}, self._limit_s, "for the facts of its machine")
        if "failure" in answer:
            hint = f"try: ssh {self._host.name} {self._host.python} -c 'import mosaic_onnx, onnxruntime, onnx'"
            raise BackendError(f"device {self._device.name} on {self._host.name}: {answer['failure']}", hint)
        return answer

    def _slice(self, model: SliceModel) -> Json:
        """Return the slice with its weights inside, since no folder of this machine is there."""
        if model.folder is not None:
            whole = onnx.ModelProto()
            whole.CopyFrom(model.model)
            load_external_data_for_model(whole, model.folder)
            model = replace(model, model=whole, folder=None)
        return super()._slice(model)
