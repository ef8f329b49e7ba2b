"""A backend whose devices run in child processes: one that crashes, hangs or fills memory raises a BackendError.

Devices that cannot do that to the process stay in it, as their backend says (``CanCrash``): ONNX Runtime's own CPU
provider, which is the reference that everything is compared with, and devices simulated on it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import onnx

from mosaic_onnx.backends.base import (
    AbsentDevice,
    Array,
    Backend,
    BrokenBackend,
    CanCrash,
    CostSource,
    FoundDevices,
    Memory,
    Place,
    Runner,
    SliceModel,
)
from mosaic_onnx.backends.wrapped import WrappedBackend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, DeviceError, UsageError
from mosaic_onnx.core.process.process_clock import PATIENCE
from mosaic_onnx.isolation.kept_child import KeptChild
from mosaic_onnx.isolation.messages import device_from_json, device_to_json, write_slice
from mosaic_onnx.isolation.process import ChildDied, ChildProcess
from mosaic_onnx.isolation.tensors import SharedTensors

Json = Any
_LOG = logging.getLogger(__name__)
FIND_LIMIT_S = 60.0
CLAIM_LIMIT_S = 30.0
CLOSE_LIMIT_S = 10.0
SLICE_LIMIT_S = 120.0
"""Loading a slice, or running it, may take so long."""
_ACTIONS = "mosaic_onnx.isolation.actions"


class IsolatedBackend(WrappedBackend):
    """A backend as its devices are seen from outside of their processes; what it does not isolate it hands on."""

    def __init__(
        self,
        inner: Backend,
        address: str,
        limit_s: float | None = None,
        *,
        isolates_all: bool = False,
        kept_child: KeptChild | None = None,
    ) -> None:
        """Wrap a backend.

        Args:
            inner: the backend, as this process imported it.
            address: ``module:NAME`` under which a child finds it.
            limit_s: how long running one slice may take, by the wall clock; None for the usual.
            isolates_all: no device stays in this process.
            kept_child: of all backends together, for what runs on devices of several; None for one of its own.
        """
        self.kept_child = kept_child or KeptChild({inner.name: address})
        self._patience = PATIENCE if limit_s is None else 1.0
        self.address = address
        self.limit_s = SLICE_LIMIT_S if limit_s is None else limit_s
        self.isolates_all = isolates_all
        self._children: dict[str, ChildProcess] = {}
        self._spare: ChildProcess | None = None
        # Optional parts of the contract describe devices, or are asked of those of this process, or of a meter.
        super().__init__(inner)

    def isolates(self, device: Device) -> bool:
        """Tell whether a device runs in a child; one of a backend that does not say that it cannot crash does."""
        return self.isolates_all or (self.inner.can_crash(device) if isinstance(self.inner, CanCrash) else True)

    def start(self) -> None:
        """Start the child that ``find`` asks, where it asks one, and return at once."""
        if self._finds_in_child:
            self._unused_child().start()

    @property
    def _finds_in_child(self) -> bool:
        return self.isolates(Device(self.name, backend=self.name))

    def _unused_child(self) -> ChildProcess:
        """Return a child that belongs to no device yet."""
        if self._spare is None:
            self._spare = ChildProcess(self.name, {self.name: self.address}, self._patience)
        return self._spare

    def find(self) -> FoundDevices:
        """Devices here; never raises. Asked in a child unless the backend's plain device cannot crash."""
        if not self._finds_in_child:
            return self.inner.find()
        child = self._unused_child()
        try:
            answer = child.ask(f"{_ACTIONS}:find", {"backend": self.name}, FIND_LIMIT_S, "which devices it has")
        except ChildDied as died:
            return self._none_found(died.reason)
        if "failure" in answer:
            return self._none_found(answer["failure"])
        try:
            return FoundDevices(
                tuple(device_from_json(each) for each in answer["devices"]),
                tuple(AbsentDevice(**each) for each in answer["absent"]),
                answer["versions"],
            )
        except (KeyError, TypeError) as error:
            return self._none_found(f"it gave an invalid answer: {error}")

    def _none_found(self, reason: str) -> FoundDevices:
        return FoundDevices(absent=(BrokenBackend(self.name, self.name, f"asked for its devices, it {reason}"),))

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """None if the device may take the node, else the reason.

        Raises:
            BackendError: the backend crashed, hung or raised.
        """
        return self.claims([node], device)[0]

    def claims(self, nodes: Sequence[onnx.NodeProto], device: Device) -> list[str | None]:
        """Return ``supports`` of many nodes at once.

        Raises:
            BackendError: the backend crashed, hung or raised.
        """
        if not self.isolates(device):
            return [self.inner.supports(node, device) for node in nodes]
        child = self.child(device)
        path = child.files / "nodes"
        path.write_bytes(onnx.GraphProto(node=nodes).SerializeToString())
        request = {"device": device_to_json(device), "nodes": str(path)}
        reasons: list[str | None] = self.ask(device, "supports", request, CLAIM_LIMIT_S, "its claims")["reasons"]
        return reasons

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot, or its process crashed or hung meanwhile.
        """
        if not self.isolates(device):
            return self.inner.load(model, device)
        return IsolatedRunner(self, device, model)

    def memory(self, device: Device) -> Memory | None:
        """The device's own memory; None for one in a child, which brings every tensor in and out itself."""
        return None if self.isolates(device) else self.inner.memory(device)

    def has_own_memory(self, device: Device) -> bool:
        """Tell whether a device has memory of its own, wherever it runs.

        Raises:
            BackendError: the backend crashed, hung or raised.
        """
        if not self.isolates(device):
            return self.inner.memory(device) is not None
        request = {"device": device_to_json(device)}
        return bool(self.ask(device, "has_own_memory", request, CLAIM_LIMIT_S, "its memory")["has_own_memory"])

    def child(self, device: Device) -> ChildProcess:
        """Return the child of a device; devices never share one, since some runtimes keep the options of the first."""
        if device.name not in self._children:
            child, self._spare = self._spare, None
            self._children[device.name] = child or ChildProcess(device.name, {self.name: self.address}, self._patience)
            self._children[device.name].name = device.name
        return self._children[device.name]

    def ask(
        self, device: Device, action: str, request: Mapping[str, Json], limit_s: float, doing: str
    ) -> dict[str, Json]:
        """Ask the child of a device.

        Raises:
            BackendError: it crashed, hung or raised; the message names the device.
        """
        try:
            answer = self.child(device).ask(f"{_ACTIONS}:{action}", request, limit_s, doing)
        except ChildDied as died:
            raise DeviceError(f"device {device.name} {died.reason} ({doing})", device=device.name) from died
        if "failure" in answer:
            words, hint = _named(str(answer["failure"]), device, doing), str(answer.get("hint", ""))
            raise UsageError(words, hint) if answer.get("is_usage") else DeviceError(words, hint, device=device.name)
        return answer

    def close(self) -> None:
        """End the children; calling it twice is harmless."""
        children, self._children = [*self._children.values(), *filter(None, [self._spare])], {}
        self._spare = None
        for child in children:
            child.close()
        self.kept_child.close()


class IsolatedRunner:
    """A slice that is loaded in a device's child. After the child's death it fails for good."""

    _numbers = count()

    def __init__(self, backend: IsolatedBackend, device: Device, model: SliceModel) -> None:
        """Load the slice; ``IsolatedBackend.load`` is the way here.

        Raises:
            BackendError: the device cannot.
        """
        self._backend = backend
        self._device = device
        self._label = f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"
        child = backend.child(device)
        number = next(self._numbers)
        names = {key: child.files / f"{key}-{number}" for key in ("slice", "inputs", "outputs")}
        self._inputs, self._outputs = SharedTensors(names["inputs"]), SharedTensors(names["outputs"])
        request = {
            "device": device_to_json(device),
            "slice": write_slice(model, names["slice"]),
            "inputs": str(names["inputs"]),
            "outputs": str(names["outputs"]),
        }
        answer = self._ask("load", request, f"loading {self._label}", SLICE_LIMIT_S)
        names["slice"].unlink(missing_ok=True)
        self._number: int | None = answer["number"]
        self._generation = child.generation
        self._assignment: dict[str, str] | None = answer["assignment"]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays.

        Raises:
            BackendError: the device failed, or its process did.
        """
        written = self._inputs.write(inputs)["index"]
        return self._read(self._ask_loaded("run", {"tensors": written}))

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Fix where inputs and outputs lie in this process; each call copies them to and from the child.

        Raises:
            BackendError: a shape or type cannot be bound.
        """
        import numpy as np

        arrays: list[dict[str, Array]] = []
        for places in (inputs, outputs):
            strange = next((name for name, place in places.items() if not isinstance(place, np.ndarray)), None)
            if strange is not None:
                raise BackendError(f"{self._label}: tensor {strange!r} is bound to a buffer of another device")
            arrays.append({name: place for name, place in places.items() if isinstance(place, np.ndarray)})
        read, made = arrays
        forms = {key: {n: _form(a) for n, a in each.items()} for key, each in (("inputs", read), ("outputs", made))}
        self._ask_loaded("bind", forms)

        def call() -> None:
            results = self._read(self._ask_loaded("call", {"tensors": self._inputs.write(read)["index"]}))
            for name, array in made.items():
                np.copyto(array, results[name])

        return call

    def assignment(self) -> Mapping[str, str] | None:
        """Provider that runs each node, by node name; None where the runtime cannot tell."""
        return self._assignment

    def close(self) -> None:
        """Give memory back; calling it twice is harmless, and a child that dies of it, or is dead, has no more."""
        number, self._number = self._number, None
        child = self._backend.child(self._device)
        if number is not None and child.generation == self._generation:
            try:
                self._ask("close", {"number": number}, f"closing {self._label}", CLOSE_LIMIT_S)
            except BackendError:
                _LOG.warning("%s could not be closed: its process was ended", self._label)
        self._inputs.close()
        self._outputs.close()

    def _read(self, answer: Mapping[str, Json]) -> dict[str, Array]:
        try:
            return self._outputs.read(answer["tensors"])
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise BackendError(f"{self._label}: its process gave an invalid answer: {error}") from error

    def _ask_loaded(self, action: str, request: Mapping[str, Json]) -> dict[str, Json]:
        if self._number is None:
            raise BackendError(f"{self._label}: it was closed")
        if self._backend.child(self._device).generation != self._generation:
            raise BackendError(f"{self._label}: its process ended")
        return self._ask(action, {"number": self._number, **request}, f"running {self._label}")

    def _ask(
        self, action: str, request: Mapping[str, Json], doing: str, limit_s: float | None = None
    ) -> dict[str, Json]:
        return self._backend.ask(self._device, action, request, limit_s or self._backend.limit_s, doing)


def _form(array: Array) -> Json:
    return {"dtype": array.dtype.name, "shape": list(array.shape)}


def _named(failure: str, device: Device, doing: str) -> str:
    """A failure's own words where they name the device, else with the device before them."""
    return failure if device.name in failure else f"device {device.name}: {failure} ({doing})"


def address_of(backend: Backend) -> str | None:
    """``module:NAME`` under which another process finds this very backend; None where no module holds it."""
    module = sys.modules.get(type(backend).__module__)
    if module is None or module.__name__ == "__main__":
        return None
    names = [name for name, value in vars(module).items() if value is backend]
    return f"{module.__name__}:{names[0]}" if names else None


def isolated(
    backends: Mapping[str, Backend], limit_s: float | None = None, *, isolates_all: bool = False
) -> dict[str, Backend]:
    """Return the backends with those that can crash this process wrapped.

    A backend that states costs describes devices and loads nothing of a vendor's; one that no module holds under a name
    cannot be found again by a child.

    Args:
        backends: by name.
        limit_s: how long running one slice may take; None for the usual.
        isolates_all: every device runs in a process of its own, whatever its backend says and states.
    """
    known = {name: address for name, backend in backends.items() if (address := address_of(backend)) is not None}
    kept_child = KeptChild(known)
    wrapped: dict[str, Backend] = {}
    for name, backend in backends.items():
        stays = isinstance(backend, IsolatedBackend) or (isinstance(backend, CostSource) and not isolates_all)
        address = None if stays else address_of(backend)
        wrapped[name] = (
            backend
            if address is None
            else IsolatedBackend(backend, address, limit_s, isolates_all=isolates_all, kept_child=kept_child)
        )
    return wrapped


def in_process(backends: Mapping[str, Backend]) -> dict[str, Backend]:
    """Return the backends as they are without isolation: a session that is not asked to isolate calls no child."""
    return {name: one.inner if isinstance(one, IsolatedBackend) else one for name, one in backends.items()}
