"""A child process on another machine, started by the system's ssh client.

The machine needs Python 3.10 or later with numpy, onnx, onnxruntime and this package; nothing else of the package's
dependencies is imported there.
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
from mosaic_onnx.isolation.board.address import BoardHost
from mosaic_onnx.isolation.board.blobs import packed
from mosaic_onnx.isolation.process import ChildProcess, Wait

Json = Any
CHILD = "mosaic_onnx.isolation.board.child"


class BoardProcess(ChildProcess):
    """A child on another machine; it serves the same actions as one here."""

    def __init__(self, host: BoardHost, name: str, addresses: Mapping[str, str]) -> None:
        """Prepare; ssh starts with the first request.

        Args:
            host: the machine.
            name: what messages call the child.
            addresses: ``module:NAME`` of each backend, there as here.
        """
        super().__init__(name, addresses)
        self.host = host

    @property
    def hint(self) -> str:
        """Return what to try where the child does not start."""
        target = f"{self.host.user}@{self.host.name}" if self.host.user else self.host.name
        return f"try: ssh {target} {self.host.python} -c 'import mosaic_onnx, onnxruntime, onnx' (docs/howto/board.md)"

    def _command(self) -> list[str]:
        return self.host.command(CHILD)

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


def with_weights_inside(model: SliceModel) -> SliceModel:
    """Return the slice with its weights inside, since no folder of this machine is there."""
    if model.folder is None:
        return model
    whole = onnx.ModelProto()
    whole.CopyFrom(model.model)
    load_external_data_for_model(whole, model.folder)
    return replace(model, model=whole, folder=None)
