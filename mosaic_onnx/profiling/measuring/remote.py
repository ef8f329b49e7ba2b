"""Measure a device of another machine: the measuring child runs there. Each slice is sent once, by its digest."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from mosaic_onnx.backends.base import Backend, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.isolation.board.backend import board_process
from mosaic_onnx.isolation.board.process import with_weights_inside
from mosaic_onnx.profiling.machine import MachineFacts
from mosaic_onnx.profiling.measuring.worker import ChildMeter

Json = Any


class RemoteMeter(ChildMeter):
    """A ``Meter`` whose device is measured on another machine."""

    def __init__(self, backend: Backend, device: Device, limit_s: float) -> None:
        """Prepare; ssh starts with the first request.

        Args:
            backend: the device's backend, there as here.
            device: the device to measure; its ``host`` is the machine's address.
            limit_s: how long one request may take, the connection's start included.

        Raises:
            UsageError: the device's host is not an ssh address.
        """
        self._board = board_process(backend, device)
        super().__init__(self._board, replace(device, host=""), limit_s)

    def machine(self) -> MachineFacts:
        """Return the facts of the machine and the versions of its runtimes: part of every cache key.

        Raises:
            BackendError: the machine cannot be reached, or lacks something.
        """
        return self._facts

    @cached_property
    def _facts(self) -> MachineFacts:
        answer = self._ask("machine", {}, self._limit_s, "for the facts of its machine")
        if "failure" in answer:
            where = f"device {self._device.name} on {self._board.host.name}"
            raise BackendError(f"{where}: {answer['failure']}", self._board.hint)
        return MachineFacts(answer["machine"], answer["versions"])

    def _slice(self, model: SliceModel) -> Json:
        return super()._slice(with_weights_inside(model))
