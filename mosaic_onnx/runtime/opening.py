"""From a plan to runners: every slice loaded on the device, at the level, that the plan names."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from mosaic_onnx.backends.base import Backend, Memory, Runner, SliceModel
from mosaic_onnx.backends.sharing import exclusive_pairs
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import BackendError, DeviceError, MosaicError, UsageError, failure_line
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.process.cpu_cores import parse_cores
from mosaic_onnx.isolation.board.backend import Boards
from mosaic_onnx.runtime.dependencies import Wiring, wire
from mosaic_onnx.runtime.levels import LevelControls
from mosaic_onnx.runtime.steps import Loaded

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedPlan:
    """A plan whose slices are loaded.

    Attributes:
        slices: [slice] what runs it.
        wiring: the tensors between them.
        is_concurrent: devices work side by side on one request.
        levels: controls of the devices whose level the plan sets.
        boards: children on other machines.
    """

    slices: tuple[Loaded, ...]
    wiring: Wiring
    is_concurrent: bool
    levels: LevelControls = field(default_factory=LevelControls)
    boards: Boards = field(default_factory=Boards)

    def close(self) -> None:
        """Give the runners back; calling it twice is harmless."""
        for each in self.slices:
            close_quietly(each.runner, each.device)
        self.release()

    def release(self) -> None:
        """Give back what the runners shared, after they are closed; calling it twice is harmless."""
        self.boards.close()
        self.levels.close()


def load_plan(
    slices: Sequence[SliceModel],
    plan: Plan,
    devices: Mapping[str, Device],
    backends: Mapping[str, Backend],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> LoadedPlan:
    """Load every slice on its device.

    Args:
        slices: one a slice of the plan, in its order.
        plan: states of the slices, and the schedule.
        devices: by name; a slice at a level is loaded on a device that has this level only.
        backends: by name.
        inputs: the model's inputs.
        outputs: the model's outputs.

    Raises:
        UsageError: the plan names a device, level or backend that is not given.
        ModelError: the slices do not fit together.
        BackendError: a slice cannot be loaded.
    """
    places = [_at_level(devices, one.state) for one in plan.slices]
    is_concurrent = plan.schedule == "concurrent"
    pairs = exclusive_pairs(devices.values(), backends) if is_concurrent else ()
    wiring = wire(slices, inputs, outputs, [device.name for device in places], is_concurrent, pairs)
    memories: dict[str, Memory | None] = {}
    levels, boards = LevelControls(), Boards()
    with ExitStack() as undo:
        undo.callback(levels.close)
        undo.callback(boards.close)
        loaded = []
        for model, device in zip(slices, places, strict=True):
            backend = boards.backend(_backend(backends, device), device)
            with _named_failure(model, device):
                if device.name not in memories:
                    memories[device.name] = backend.memory(device)
                runner = backend.load(model, device)
            undo.callback(close_quietly, runner, device.name)
            held = levels.levelled(runner, backend, device)
            loaded.append(Loaded(model, held, device.name, memories[device.name]))
        undo.pop_all()
    return LoadedPlan(tuple(loaded), wiring, is_concurrent, levels, boards)


@contextmanager
def _named_failure(model: SliceModel, device: Device) -> Iterator[None]:
    """Name slice and device in whatever loading raises: a foreign backend may raise anything."""
    try:
        yield
    except DeviceError:
        raise
    except BackendError as error:
        raise DeviceError(error.message, error.hint, device=device.name) from error
    except MosaicError:
        raise
    except Exception as failure:
        name = model.model.graph.name or ", ".join(model.outputs)
        raise DeviceError(f"slice {name!r} on {device.name}: {failure_line(failure)}", device=device.name) from failure


def close_quietly(runner: Runner, device: str) -> None:
    """Close a runner; one that fails at that is told of, and the results before it stand."""
    try:
        runner.close()
    except Exception as failure:  # a foreign backend may raise anything
        _LOG.warning("device %s: a slice could not be closed: %s", device, failure_line(failure))


def _at_level(devices: Mapping[str, Device], state: str) -> Device:
    name, _, level = state.partition("@")
    device = devices.get(device_of(state))
    if device is None:
        raise UsageError(f"the plan runs a slice on {name}, which is not here", f"devices: {', '.join(devices)}")
    if not level:
        return device
    levels = tuple(each for each in device.levels if each.name == level)
    if not levels:
        raise UsageError(f"device {name} has no level {level}", f"levels: {', '.join(x.name for x in device.levels)}")
    return replace(device, levels=levels)


def _backend(backends: Mapping[str, Backend], device: Device) -> Backend:
    if device.backend not in backends:
        raise UsageError(
            f"device {device.name} wants backend {device.backend!r}, which is not installed",
            f"installed: {', '.join(backends)}",
        )
    return backends[device.backend]


def held_cores(devices: Mapping[str, Device]) -> dict[str, frozenset[int]]:
    """Return {device: core of its worker}: the first of the device's cores, where a runner holds its caller."""
    return {
        name: frozenset(parse_cores(str(device.options["cores"]))[:1])
        for name, device in devices.items()
        if "cores" in device.options and not device.host
    }
