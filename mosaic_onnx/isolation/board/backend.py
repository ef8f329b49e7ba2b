"""Backends of devices on other machines: claims are asked, and slices are loaded and run, in a child there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, Backend, FoundDevices, Memory, Place, Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, DeviceError, UsageError
from mosaic_onnx.isolation.backend import CLAIM_LIMIT_S, CLOSE_LIMIT_S, SLICE_LIMIT_S, IsolatedBackend, address_of
from mosaic_onnx.isolation.board.address import parse_host
from mosaic_onnx.isolation.board.blobs import arrays_from_json, arrays_to_json
from mosaic_onnx.isolation.board.process import CHILD, BoardProcess, with_weights_inside
from mosaic_onnx.isolation.messages import device_to_json, write_slice
from mosaic_onnx.isolation.process import ChildDied

Json = Any


@runtime_checkable
class Wraps(Protocol):
    """A backend that watches another one's slices, wherever they run."""

    @property
    def inner(self) -> Backend:
        """Return the backend that it watches."""

    def around(self, inner: Backend) -> Backend:
        """Return another backend, watched in the same way."""


def board_process(backend: Backend, device: Device) -> BoardProcess:
    """Return a child for a device of another machine; ssh starts with the first request.

    Raises:
        UsageError: the device's host is not an ssh address, or no other process can import its backend.
    """
    host = parse_host(device.host)
    address = backend.address if isinstance(backend, IsolatedBackend) else address_of(backend)
    if address is None:
        raise UsageError(f"device {device.name}: backend {device.backend} cannot be imported on another machine")
    return BoardProcess(host, f"{device.name} on {host.name}", {device.backend: address})


class BoardBackend:
    """The backend of one device of another machine."""

    def __init__(self, inner: Backend, device: Device) -> None:
        """Prepare; ssh starts with the first request.

        Args:
            inner: the backend, as this process imported it.
            device: the device; its ``host`` is the machine's address.

        Raises:
            UsageError: the host is not an ssh address.
        """
        self.inner = inner
        self.device = device
        self.child = board_process(inner, device)

    @property
    def name(self) -> str:
        """Return the backend's name."""
        return self.inner.name

    def find(self) -> FoundDevices:
        """Return no devices: those of another machine are named by the user."""
        return FoundDevices()

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return None if the device may run the node, else the reason.

        Raises:
            BackendError: the machine cannot be reached, or the backend failed there.
        """
        return self.claims([node])[0]

    def claims(self, nodes: Sequence[onnx.NodeProto]) -> list[str | None]:
        """Return ``supports`` of many nodes at once.

        Raises:
            BackendError: the machine cannot be reached, or the backend failed there.
        """
        path = self.child.files / "nodes"
        path.write_bytes(onnx.GraphProto(node=nodes).SerializeToString())
        reasons: list[str | None] = self.ask("claims", {"nodes": {"path": str(path)}}, CLAIM_LIMIT_S)["reasons"]
        return reasons

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice there.

        Raises:
            BackendError: the device cannot, or the machine cannot be reached.
        """
        slice_ = write_slice(with_weights_inside(model), self.child.files / "slice.onnx")
        answer = self.ask("load", {"slice": slice_}, SLICE_LIMIT_S)
        return BoardRunner(self, int(answer["number"]), self.child.generation, answer["assignment"])

    def memory(self, device: Device) -> Memory | None:
        """Return None: every tensor is brought there and back."""
        return None

    def ask(self, action: str, request: Mapping[str, Json], limit_s: float) -> dict[str, Json]:
        """Ask the child.

        Raises:
            BackendError: it died, or the action failed there; the message names device and machine.
        """
        name, host = self.device.name, self.child.host.name
        sent = {"device": device_to_json(replace(self.device, host="")), **request}
        try:
            answer = self.child.ask(f"{CHILD}:{action}", sent, limit_s, f"{action} on {host}")
        except ChildDied as died:
            raise DeviceError(f"device {name} on {host}: {died.reason}", self.child.hint, device=name) from died
        if "failure" in answer:
            words, hint = f"device {name} on {host}: {answer['failure']}", str(answer.get("hint", ""))
            raise UsageError(words, hint) if answer.get("is_usage") else DeviceError(words, hint, device=name)
        return answer

    def close(self) -> None:
        """End the child; calling it twice is harmless."""
        self.child.close()


@dataclass
class BoardRunner:
    """A slice that is loaded on another machine; ``BoardBackend.load`` makes it.

    Attributes:
        backend: its device's.
        number: the child's name of it; None once it is closed.
        generation: of the child that holds it.
        assigned: provider of each node.
    """

    backend: BoardBackend
    number: int | None
    generation: int
    assigned: Mapping[str, str] | None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays; they travel there and back.

        Raises:
            BackendError: the device failed, or the connection did.
        """
        if self.number is None or self.backend.child.generation != self.generation:
            raise BackendError(f"device {self.backend.device.name}: its slice was closed, or its connection ended")
        answer = self.backend.ask("run", {"number": self.number, "arrays": arrays_to_json(inputs)}, SLICE_LIMIT_S)
        return arrays_from_json(answer["arrays"])

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Fix where inputs and outputs lie in this process.

        Raises:
            BackendError: a place is a buffer of another device.
        """
        places = {**inputs, **outputs}
        strange = next((name for name, place in places.items() if not isinstance(place, np.ndarray)), None)
        if strange is not None:
            raise BackendError(f"tensor {strange!r} is bound to a buffer of another device")
        read = {name: np.asarray(place) for name, place in inputs.items()}
        made = {name: np.asarray(place) for name, place in outputs.items()}

        def call() -> None:
            results = self.run(read)
            for name, array in made.items():
                np.copyto(array, results[name])

        return call

    def assignment(self) -> Mapping[str, str] | None:
        """Return the provider that runs each node; None where the runtime cannot tell."""
        return self.assigned

    def close(self) -> None:
        """Release it there; calling it twice is harmless.

        Raises:
            BackendError: the device failed at it.
        """
        number, self.number = self.number, None
        if number is not None and self.backend.child.generation == self.generation:
            self.backend.ask("close", {"number": number}, CLOSE_LIMIT_S)


@dataclass
class Boards:
    """The other machines' devices that one loaded plan uses, each with a child of its own."""

    backends: dict[str, BoardBackend] = field(default_factory=dict)

    def backend(self, inner: Backend, device: Device) -> Backend:
        """Return the backend that runs a device where it is: ``inner`` for one of this machine.

        Raises:
            UsageError: the device's host is not an ssh address.
        """
        if not device.host:
            return inner
        bare = inner.inner if isinstance(inner, Wraps) else inner
        if device.name not in self.backends:
            self.backends[device.name] = BoardBackend(bare, device)
        board = self.backends[device.name]
        return inner.around(board) if isinstance(inner, Wraps) else board

    def close(self) -> None:
        """End the children; calling it twice is harmless."""
        for backend in self.backends.values():
            backend.close()
