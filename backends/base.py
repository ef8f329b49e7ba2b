"""The backend contract: what a backend author writes (about 30 lines), and what the rest may rely on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import onnx
from numpy.typing import NDArray

from mosaic_onnx.backends.option_model import OptionRule
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import Cost, SwitchCost, TransferCost

Array = NDArray[np.generic]


@dataclass(frozen=True)
class AbsentDevice:
    """A device or backend that is not here, and why (for ``mosaic-onnx devices``)."""

    name: str
    backend: str
    reason: str


@dataclass(frozen=True)
class FoundDevices:
    """What a backend found on this machine.

    Attributes:
        devices: devices that it can run now.
        absent: devices that it would have, were something installed or set, with the reason.
        versions: versions of backend, provider and driver; part of every cache key.
    """

    devices: tuple[Device, ...] = ()
    absent: tuple[AbsentDevice, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SliceModel:
    """One slice as a model of its own.

    Attributes:
        model: the slice's graph; weights are initialisers, maybe with external data.
        folder: where the external data lies; None where there is none.
        inputs: tensors that it reads, in the model's input order.
        outputs: tensors that it makes for others, in the model's output order.
        is_optimised: cut from what ``Optimises.optimise`` gave: to be loaded as it is, on the machine that made it.
    """

    model: onnx.ModelProto
    folder: str | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_optimised: bool = False


class Buffer(Protocol):
    """A tensor in a device's own memory, allocated once and used by every slice of that device."""

    def upload(self, array: Array) -> None:
        """Copy a host array in; returns when the array may be changed."""

    def download(self, array: Array) -> None:
        """Copy out into a host array; waits for all work that makes the tensor."""


class Memory(Protocol):
    """Memory of a device that does not share host's."""

    def allocate(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Buffer:
        """A new buffer; contents undefined."""


Place = Array | Buffer
"""Where a tensor lies: a host array, or a buffer of the device that runs the slice."""


@runtime_checkable
class Runner(Protocol):
    """A loaded slice. One runner is called by one thread at a time."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays of any legal shape; complete when it returns.

        Raises:
            BackendError: the provider failed; the message names slice and device.
        """

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Fix where inputs and outputs lie and return the call that runs in place.

        The returned call reads the inputs' places as they are *then* (no copy made at bind time may go stale) and
        writes the outputs' places. With host arrays only, it is complete when it returns; with device buffers it may
        be asynchronous until ``Buffer.download``.

        Raises:
            BackendError: a shape or dtype cannot be bound; the caller falls back to ``run``.
        """

    def assignment(self) -> Mapping[str, str] | None:
        """Provider that runs each node, by node name; None where the runtime cannot tell."""

    def close(self) -> None:
        """Give memory and threads back; calling it twice is harmless."""


class Backend(Protocol):
    """Runs slices on the devices of one runtime or provider family. Vendor libraries are imported lazily."""

    @property
    def name(self) -> str:
        """The backend's name: its entry point, and what device entries call it."""

    def find(self) -> FoundDevices:
        """Devices here; never raises: what is not here is in ``FoundDevices.absent`` with the reason."""

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """A cheap claim that profiling verifies: None if the device may take the node, else the reason."""

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot; the message names slice, device and the provider's own reason.
        """

    def memory(self, device: Device) -> Memory | None:
        """The device's own memory; None where it shares host's."""


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a compiled slice, as its runtime times it while the slice runs.

    Attributes:
        name: the runtime's name for it; holds the names of the nodes or values that it was made from, where it can.
        seconds: the least over the runs.
        workspace_bytes: scratch memory that it takes while it runs; 0 where it takes none or nobody tells.
    """

    name: str
    seconds: float
    workspace_bytes: int = 0


@runtime_checkable
class KernelTimer(Protocol):
    """A backend whose runtime can time each kernel of a slice while the whole slice runs."""

    def kernel_times(
        self, model: SliceModel, device: Device, inputs: Mapping[str, Array], budget_s: float
    ) -> tuple[KernelTime, ...]:
        """Kernels in the order in which they ran; those inside another (a loop's body) are part of it.

        Raises:
            BackendError: the slice cannot be compiled or run, or the runtime does not tell.
        """


@runtime_checkable
class CanCrash(Protocol):
    """A backend that says which of its devices may crash or hang the process that tries a slice on them.

    Those are tried in a child process first; so are all devices of a backend that does not say.
    """

    def can_crash(self, device: Device) -> bool:
        """Whether to try slices on the device in a child process."""


@runtime_checkable
class DeclaresOptions(Protocol):
    """A backend that declares its devices' options, and which of them a bundle of a stranger may set.

    Of a backend that does not, a bundle may set none: its devices must be this machine's own.
    """

    def option_rules(self, device: Device) -> tuple[OptionRule, ...]:
        """Every option that a device like this one may have; one without a rule is refused in a bundle."""


@runtime_checkable
class LimitsModelSize(Protocol):
    """A backend whose runtime cannot hold a model of any size in one process."""

    def too_large(self, node_count: int, device: Device) -> str | None:
        """Why the device cannot take a model of so many nodes, however it is cut; None where it may."""


@dataclass(frozen=True)
class LevelOffer:
    """The levels that a device can be held at.

    Attributes:
        levels: lowest first; empty where there are none.
        why_not: why there are none, with the way out; empty where there are.
    """

    levels: tuple[Level, ...] = ()
    why_not: str = ""


class LevelControl(Protocol):
    """Holds one device at a level. One thread uses it at a time."""

    def set_level(self, level: Level) -> None:
        """Hold the device at a level; returns when it is reached. The level it has already costs nothing.

        Raises:
            BackendError: the system refuses.
        """

    def read_hz(self) -> float | None:
        """Return the frequency that is run now; None where nothing tells."""

    def close(self) -> None:
        """Give the device back to its governor with the limits of before; calling it twice is harmless."""


@runtime_checkable
class SetsLevels(Protocol):
    """A backend that can hold a device at one of its levels; others are measured at the level they happen to have."""

    def offered_levels(self, device: Device) -> LevelOffer:
        """Return the levels that this process may set, or why there are none."""

    def level_control(self, device: Device) -> LevelControl:
        """Return a control of the device's level; the limits are restored even if this process is killed.

        Raises:
            BackendError: the device has no levels that can be set.
        """


@runtime_checkable
class Optimises(Protocol):
    """A backend whose runtime can write down what it makes of a model, which can then be cut without a tax."""

    def optimise(self, model: SliceModel, device: Device) -> SliceModel | None:
        """The model as the runtime would run it on this machine: same inputs and outputs, the type of every value.

        Returns:
            The optimised model, weights inline; None for devices that optimise nothing that could be cut.

        Raises:
            BackendError: it cannot be compiled.
        """


@runtime_checkable
class OffersOptimisations(Protocol):
    """A backend that can be told how far to optimise a slice; which is fastest is measured, slice by slice."""

    def optimisations(self, device: Device) -> Mapping[str, Device]:
        """The device told to optimise otherwise than it does, by a name for each; empty where the user said how far."""


@runtime_checkable
class HasDefault(Protocol):
    """A backend whose runtime runs a whole model in a way of its own when it is told nothing."""

    def runtime_default(self, device: Device) -> Device | None:
        """Return the device as the runtime runs it by default; None where the user said how."""


@runtime_checkable
class CostSource(Protocol):
    """A backend whose devices are described, not measured: it states each layer's cost itself."""

    def layer_costs(self, facts: Sequence[LayerFacts], device: Device, state: str) -> Sequence[Cost | str]:
        """What each layer costs in a state, or the reason why the state cannot run it."""

    def copies(self, device: Device) -> tuple[TransferCost, ...]:
        """Copy entries to and from the device's memory; empty where it shares host's."""


@runtime_checkable
class SwitchCostSource(Protocol):
    """A backend of described devices that also states what changing a device's level costs."""

    def switches(self, device: Device) -> tuple[SwitchCost, ...]:
        """Switch entries between the device's levels; empty where they cost nothing."""


def as_devices(found: Sequence[FoundDevices]) -> dict[str, Device]:
    """All devices found, by name, in the order in which they were found; the first of a name wins."""
    devices: dict[str, Device] = {}
    for one in found:
        for device in one.devices:
            devices.setdefault(device.name, device)
    return devices
