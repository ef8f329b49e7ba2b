"""The actions of a child with a backend: find devices, get claims, load slices and run them.

Each action takes the child's ``Host`` and a request, and returns its answer; who asks is ``backend.IsolatedBackend``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, Runner
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.isolation.child import Host
from mosaic_onnx.isolation.marks import Mark
from mosaic_onnx.isolation.messages import device_from_json, device_to_json, dtype_of, read_slice
from mosaic_onnx.isolation.tensors import SharedTensors

Json = Any
Request = Mapping[str, Json]


@dataclass
class _Loaded:
    """A runner in the child.

    Attributes:
        runner: it.
        running: number of the mark that says that it runs.
        closing: number of the mark that says that it is closed.
        inputs: the parent's tensors.
        outputs: the child's.
        places: the arrays that its bound call reads and writes.
        call: its bound call.
    """

    runner: Runner
    running: int
    closing: int
    inputs: SharedTensors
    outputs: SharedTensors
    places: tuple[dict[str, Array], dict[str, Array]] = field(default_factory=lambda: ({}, {}))
    call: Callable[[], None] | None = None

    def close(self) -> None:
        """Close the runner and unmap the tensors."""
        self.runner.close()
        self.inputs.close()
        self.outputs.close()


def find(host: Host, request: Request) -> Json:
    """The devices of a backend."""
    found = host.backend(request["backend"]).find()
    return {
        "devices": [device_to_json(device) for device in found.devices],
        "absent": [dataclasses.asdict(absent) for absent in found.absent],
        "versions": dict(found.versions),
    }


def supports(host: Host, request: Request) -> Json:
    """A device's claims: for each node, why it may not have it."""
    device = device_from_json(request["device"])
    backend = host.backend(device.backend)
    nodes = onnx.GraphProto.FromString(Path(request["nodes"]).read_bytes()).node
    return {"reasons": [backend.supports(node, device) for node in nodes]}


def has_own_memory(host: Host, request: Request) -> Json:
    """Return whether a device has its own memory."""
    device = device_from_json(request["device"])
    return {"has_own_memory": host.backend(device.backend).memory(device) is not None}


def load(host: Host, request: Request) -> Json:
    """Load a slice; the answer names it, and says which provider runs each node."""
    device, model = device_from_json(request["device"]), read_slice(request["slice"])
    name = model.model.graph.name
    host.marks.set(host.marks.number(Mark(device.name, "load", name)))
    runner = host.backend(device.backend).load(model, device)
    loaded = _Loaded(
        runner,
        host.marks.number(Mark(device.name, "run", name)),
        host.marks.number(Mark(device.name, "close", name)),
        SharedTensors(Path(request["inputs"])),
        SharedTensors(Path(request["outputs"])),
    )
    assigned = runner.assignment()
    return {"number": host.keep(loaded), "assignment": None if assigned is None else dict(assigned)}


def run(host: Host, request: Request) -> Json:
    """Run a loaded slice on the tensors of the request."""
    loaded: _Loaded = host.objects[request["number"]]
    inputs = loaded.inputs.read(request["tensors"])
    host.marks.set(loaded.running)
    made = loaded.runner.run(inputs)
    return {"tensors": loaded.outputs.write(made)["index"]}


def bind(host: Host, request: Request) -> Json:
    """Bind a loaded slice to arrays of the child's own; the parent's tensors are copied there before each call."""
    loaded: _Loaded = host.objects[request["number"]]
    inputs, outputs = ({name: _empty(entry) for name, entry in request[key].items()} for key in ("inputs", "outputs"))
    loaded.call = loaded.runner.bind(inputs, outputs)
    loaded.places = (inputs, outputs)
    return {}


def call(host: Host, request: Request) -> Json:
    """Run a bound slice."""
    loaded: _Loaded = host.objects[request["number"]]
    if loaded.call is None:
        raise BackendError("the slice is not bound")
    inputs, outputs = loaded.places
    for name, array in loaded.inputs.read(request["tensors"]).items():
        np.copyto(inputs[name], array)
    host.marks.set(loaded.running)
    loaded.call()
    return {"tensors": loaded.outputs.write(outputs)["index"]}


def close(host: Host, request: Request) -> Json:
    """Close a loaded slice."""
    loaded: _Loaded = host.objects.pop(request["number"])
    host.marks.set(loaded.closing)
    loaded.close()
    return {}


def forget(host: Host, request: Request) -> Json:
    """Close all that earlier requests made."""
    host.forget()
    return {}


def _empty(entry: Mapping[str, Json]) -> Array:
    return np.empty(tuple(entry["shape"]), dtype_of(entry["dtype"]))
