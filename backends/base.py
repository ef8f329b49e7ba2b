"""The backend contract: the protocols that a backend implements (about 30 lines), and the values they exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import onnx
from numpy.typing import NDArray

from mosaic_onnx.backends.option_model import OptionRule
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.graph.layer_facts import LayerFacts
from mosaic_onnx.core.profiles import Cost, SwitchCost, TransferCost

Array = NDArray[np.generic]


@dataclass(frozen=True)
class AbsentDevice:
    """A device or backend that is not available, and the reason (for ``mosaic-onnx devices``)."""

    name: str
    backend: str
    reason: str


@dataclass(frozen=True)
class BrokenBackend(AbsentDevice):
    """A backend that crashed, hung or raised when it was asked for its devices: every command tells of it."""


@dataclass(frozen=True)
class FoundDevices:
    """The devices that a backend found on this machine.

    Attributes:
        devices: devices that it can run now.
        absent: devices that would be available if something were installed or set, with the reason.
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
        outputs: tensors that it produces for others, in the model's output order.
        is_optimised: cut from the result of ``Optimises.optimise``; it fits the same machine only.
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
        """Copy out into a host array; waits for all work that produces the tensor."""


class Memory(Protocol):
    """The memory of a device that does not share host memory."""

    def allocate(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Buffer:
        """Return a new buffer; contents undefined."""


Place = Array | Buffer
"""The place of a tensor: a host array, or a buffer of the device that runs the slice."""


@runtime_checkable
class Runner(Protocol):
    """A loaded slice. One runner is called by one thread at a time."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on host arrays of any legal shape; complete when it returns.

        Raises:
            BackendError: the provider failed; the message names slice and device.
        """

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        """Bind inputs and outputs to places and return the call that runs in place.

        The returned call reads the inputs' places at the time of the call (never a copy made by ``bind``) and writes
        the outputs' places. With host arrays only, it is complete when it returns; with device buffers it may
        be asynchronous until ``Buffer.download``.

        Raises:
            BackendError: a shape or dtype cannot be bound; the caller falls back to ``run``.
        """

    def assignment(self) -> Mapping[str, str] | None:
        """Return the provider that runs each node, by node name; None where the runtime cannot tell."""

    def close(self) -> None:
        """Release memory and threads; calling it twice is harmless."""


class Backend(Protocol):
    """Runs slices on the devices of one runtime or provider family. Vendor libraries are imported lazily."""

    @property
    def name(self) -> str:
        """Return the backend's name: that of its entry point, which device entries refer to."""

    def find(self) -> FoundDevices:
        """Return the available devices, and the absent ones with the reason; never raises."""

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return None if the device may run the node, else the reason; a cheap claim, which profiling verifies."""

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot; the message names slice, device and the provider's reason.
        """

    def memory(self, device: Device) -> Memory | None:
        """Return the device's own memory; None where it shares host memory."""


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a compiled slice, as its runtime times it while the slice runs.

    Attributes:
        name: the runtime's name for it, which should contain the names of its nodes or values.
        seconds: the least over the runs.
        workspace_bytes: scratch memory that it takes while it runs; 0 where it takes none or that is unknown.
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
        """Return the kernels in the order in which they ran; those inside another (a loop's body) are part of it.

        Raises:
            BackendError: the slice cannot be compiled or run, or the runtime does not tell.
        """


class RecordingRunner(Runner, Protocol):
    """A loaded slice whose kernels can be timed once; after that it runs as any other."""

    def kernels(self, inputs: Mapping[str, Array], budget_s: float) -> tuple[KernelTime, ...]:
        """Run until the budget is spent; return the kernels as ``KernelTimer.kernel_times`` does.

        Raises:
            BackendError: the slice cannot run, or the runtime does not tell.
        """


@runtime_checkable
class RecordsKernels(Backend, KernelTimer, Protocol):
    """A backend that loads a slice once for its kernels and for all other runs: a quick profile loads nothing twice."""

    def load_recording(self, model: SliceModel, device: Device) -> RecordingRunner:
        """Compile a slice for a device, recording its kernels until they were asked for.

        Raises:
            BackendError: it cannot, or the runtime does not time this device's kernels.
        """


@runtime_checkable
class CanCrash(Protocol):
    """A backend that tells which of its devices may crash or hang the process that runs slices on them.

    Those are measured in a child process, as are all devices of a backend without this method.
    """

    def can_crash(self, device: Device) -> bool:
        """Return whether to try slices on the device in a child process."""


@runtime_checkable
class Preloads(Protocol):
    """A backend whose runtime takes long to import: a process that will load slices does it before it is asked."""

    def preload(self) -> None:
        """Import the runtime; what goes wrong is ignored, and told when a slice is loaded."""


@runtime_checkable
class DeclaresOptions(Protocol):
    """A backend that declares its devices' options, and those that an untrusted bundle may set.

    A bundle may set no option of other backends: their devices must be this machine's own.
    """

    def option_rules(self, device: Device) -> tuple[OptionRule, ...]:
        """Return the rules of all options of a device; an option without a rule is refused in a bundle."""


@runtime_checkable
class LimitsModelSize(Protocol):
    """A backend whose runtime limits the size of a model in one process."""

    def too_large(self, node_count: int, device: Device) -> str | None:
        """Return why the device cannot run a model of so many nodes, however it is cut; None where it may."""


@dataclass(frozen=True)
class LevelOffer:
    """The levels at which a device can be held.

    Attributes:
        levels: lowest first; empty where there are none.
        why_not: why there are none, with a remedy; empty where there are some.
    """

    levels: tuple[Level, ...] = ()
    why_not: str = ""


class LevelControl(Protocol):
    """Holds one device at a level; used by one thread at a time."""

    def set_level(self, level: Level) -> None:
        """Hold the device at a level; returns when it is reached, at once if it already is.

        Raises:
            BackendError: the system refuses.
        """

    def read_hz(self) -> float | None:
        """Return the current frequency; None where it is unknown."""

    def close(self) -> None:
        """Restore the governor's former limits; calling it twice is harmless."""


@runtime_checkable
class SetsLevels(Protocol):
    """A backend that can hold a device at one of its levels; other devices are measured at their current level."""

    def offered_levels(self, device: Device) -> LevelOffer:
        """Return the levels that this process may set, or why there are none."""

    def level_control(self, device: Device) -> LevelControl:
        """Return a control of the device's level; the limits are restored even if this process is killed.

        Raises:
            BackendError: the device has no levels that can be set.
        """


@runtime_checkable
class Optimises(Protocol):
    """A backend whose runtime can save the optimised model, which can then be cut without overhead."""

    def optimise(self, model: SliceModel, device: Device) -> SliceModel | None:
        """Return the model optimised by the runtime for this machine: same inputs and outputs, typed values.

        Returns:
            The optimised model, weights inline; None for devices without such a model.

        Raises:
            BackendError: it cannot be compiled.
        """


@runtime_checkable
class OffersOptimisations(Protocol):
    """A backend with several optimisation levels; the fastest level is measured for each slice."""

    def optimisations(self, device: Device) -> Mapping[str, Device]:
        """Return {name: the device at another optimisation level}; empty where the user set the level."""


@runtime_checkable
class HasDefault(Protocol):
    """A backend whose runtime runs a whole model in a way of its own when it is told nothing."""

    def runtime_default(self, device: Device) -> Device | None:
        """Return the device as the runtime runs it by default; None where the user said how."""


@runtime_checkable
class CostSource(Protocol):
    """A backend whose devices are described, not measured: it states the cost of each layer."""

    def layer_costs(self, facts: Sequence[LayerFacts], device: Device, state: str) -> Sequence[Cost | str]:
        """Return each layer's cost in a state, or the reason why the state cannot run it."""

    def copies(self, device: Device) -> tuple[TransferCost, ...]:
        """Return the costs of transfers to and from the device's memory; empty where it shares host memory."""


@runtime_checkable
class SwitchCostSource(Protocol):
    """A backend of described devices that also states the cost of changing a device's level."""

    def switches(self, device: Device) -> tuple[SwitchCost, ...]:
        """Return the costs of switches between the device's levels; empty where they are free."""


@runtime_checkable
class DescribesDevices(Protocol):
    """A backend of described devices that the user names: ``-d BACKEND:DESCRIPTION``."""

    def descriptions(self) -> tuple[str, ...]:
        """Return the names of the descriptions that ship with it."""

    def described(self, description: str) -> tuple[Device, ...]:
        """Return the devices of a description: a shipped one's name, or the path of a file.

        Raises:
            UsageError: there is no such description.
            ModelError: its file is wrong.
        """


def as_devices(found: Sequence[FoundDevices]) -> dict[str, Device]:
    """Return {name: device} of all devices found, in order; the first of a name wins."""
    devices: dict[str, Device] = {}
    for one in found:
        for device in one.devices:
            devices.setdefault(device.name, device)
    return devices
