"""A site that is served while things change: models come and go, periods change, a device fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import DeviceError, UsageError, failure_line
from mosaic_onnx.discovery.registry import backends
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.isolation.backend import IsolatedBackend, in_process, isolated
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.pipeline.open_bundle import bind_bundle
from mosaic_onnx.pipeline.site.folder import Site
from mosaic_onnx.pipeline.site.serve import load_bundle, scaled
from mosaic_onnx.runtime.opening import held_cores
from mosaic_onnx.runtime.workers import Workers
from mosaic_onnx.scenarios.instance import unit_of
from mosaic_onnx.scenarios.scenario import Group
from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.serving.model_runner import ModelRunner
from mosaic_onnx.scenarios.serving.server import ScenarioServer, ServingOrder
from mosaic_onnx.scenarios.serving.statistics import ScenarioStatistics

Situation = frozenset[str]
"""Names of the devices that are gone."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceLoss:
    """A device that failed while it was served.

    Attributes:
        device: its name.
        at_s: when it was noticed, since the start.
        reason: how it failed.
    """

    device: str
    at_s: float
    reason: str


@dataclass(frozen=True)
class Isolation:
    """Devices in processes of their own, so that one that crashes or hangs fails its slices and nothing else.

    Attributes:
        time_limit_s: a slice that runs longer has failed; None for the usual limit.
    """

    time_limit_s: float | None = None


@dataclass(frozen=True)
class ServingOptions:
    """The options of serving a site.

    Attributes:
        multiplier: of periods and deadlines.
        devices: the user's own devices.
        trust: take what the bundles say of their devices.
        seed: of inputs and jitter.
        check_every: compare every so many frames' outputs; 0 for none.
        isolation: run the devices in processes of their own; None: in this one.
    """

    multiplier: float = 1.0
    devices: Sequence[str] = ()
    trust: bool = False
    seed: int = 0
    check_every: int = 0
    isolation: Isolation | None = None


class LiveSite:
    """Serves the plans of a table by situation; frames that have begun end on the slices that they began on.

    A device that fails on a frame is lost from then on, if the table has a plan without it: frames that failed on it
    run again, from their first slice, on the slices of that plan. Without such a plan, those frames count as failed.
    """

    def __init__(
        self,
        table: Mapping[Situation, Site],
        options: ServingOptions | None = None,
        *,
        on_frame: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        """Load the slices of every situation, so that a switch takes no loading.

        Args:
            table: the site for each situation; that of no lost device must be there (``read_situations``).
            options: how; None for the usual ones.
            on_frame: called with every frame that is over.

        Raises:
            UsageError: a device is not here.
            BackendError: a slice cannot be loaded.
        """
        options = options or ServingOptions()
        self._table = dict(table)
        self._lost: Situation = frozenset()
        self._losses: list[DeviceLoss] = []
        self._lock = threading.Lock()
        base = self._table[self._lost]
        self._groups = {group.name: group for group in scaled(base.groups, options.multiplier)}
        self._models = list(base.bundles)
        bundles = {
            situation: {
                name: bind_bundle(bundle, options.devices, trust=options.trust) for name, bundle in site.bundles.items()
            }
            for situation, site in self._table.items()
        }
        here = {device.name: device for row in bundles.values() for one in row.values() for device in one.devices}
        with ExitStack() as undo:
            workers = Workers(here, held_cores(here), _of_one_unit(here.values()))
            undo.callback(workers.close)
            candidates = _backends(options.isolation, undo)

            def runner(name: str, bundle: Bundle) -> ModelRunner:
                inputs, loaded = make_inputs(bundle.original(), options.seed), load_bundle(bundle, candidates)
                made = ModelRunner(name, loaded, workers, inputs, check_every=options.check_every)
                undo.callback(made.close)
                return made

            self._runners = {
                situation: {name: runner(name, bundle) for name, bundle in row.items()}
                for situation, row in bundles.items()
            }
            self._server = ScenarioServer(
                list(self._groups.values()),
                self._runners[self._lost],
                ServingOrder(base.priority, base.policy),
                workers,
                [name for name in base.devices if name in here],
                drop=base.drop,
                seed=options.seed,
                on_frame=on_frame,
                rescue=self._rescue,
            )
            self._stack = undo.pop_all()

    # ---- changes -----------------------------------------------------------------------------------------------------

    def lose_device(self, name: str) -> None:
        """Serve without a device from the next requests on.

        Raises:
            UsageError: there is no plan for what is left.
        """
        self._switch(self._lost | {name})

    def regain_device(self, name: str) -> None:
        """Serve with a device again.

        Raises:
            UsageError: there is no plan for that.
        """
        self._switch(self._lost - {name})

    def remove_model(self, model: str) -> None:
        """Serve a model no more.

        Raises:
            UsageError: it is not served.
        """
        with self._lock:
            if model not in self._models:
                raise UsageError(f"model {model} is not served", f"served are {', '.join(self._models)}")
            self._models.remove(model)
            self._apply()

    def add_model(self, model: str) -> None:
        """Serve a model of the site again.

        Raises:
            UsageError: the site has no such model.
        """
        with self._lock:
            known = self._table[frozenset()].bundles
            if model not in known:
                raise UsageError(f"the site has no model {model}", f"its models are {', '.join(known)}")
            self._models = [name for name in known if name in (*self._models, model)]
            self._apply()

    def set_period(self, group: str, period_s: float, deadline_s: float | None = None) -> None:
        """Serve a group at another period; its deadline is the period unless it is given.

        Raises:
            UsageError: there is no such group, or the period is not above 0.
        """
        if group not in self._groups or not period_s > 0:
            raise UsageError(f"group {group!r} with a period of {period_s} s", f"groups: {', '.join(self._groups)}")
        with self._lock:
            due_s = period_s if deadline_s is None else deadline_s
            self._groups[group] = replace(self._groups[group], period_s=period_s, deadline_s=due_s)
            self._apply()

    def _switch(self, lost: Situation) -> None:
        with self._lock:
            if lost not in self._table:
                raise UsageError(
                    f"there is no plan without {', '.join(sorted(lost))}",
                    "schedule with --situations, and one at a time",
                )
            self._lost = lost
            self._apply()

    def _rescue(self, frame: Frame) -> bool:
        """Take a device that failed on a frame out of service; whether the frame can run again without it."""
        error = frame.error
        device = error.device if isinstance(error, DeviceError) else ""
        with self._lock:
            if device and device not in self._lost and self._lost | {device} in self._table:
                self._lost |= {device}
                loss = DeviceLoss(device, self._server.seconds, failure_line(error) if error else "")
                self._losses.append(loss)
                _LOG.warning("device %s is taken out of service: %s", device, loss.reason)
                self._apply()
            return device in self._lost and frame.rerun_count < len(self._table)

    def _apply(self) -> None:
        """Tell the server what is to be served now."""
        site = self._table[self._lost]
        groups: list[Group] = []
        for group in self._groups.values():
            entries = tuple(entry for entry in group.models if f"{group.name}/{entry.name}" in self._models)
            if entries:
                groups.append(replace(group, models=entries))
        runners = self._runners[self._lost]
        self._server.change(groups, runners, ServingOrder(site.priority, site.policy))

    # ---- serving -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the first requests arrive."""
        self._server.start()

    def stop(self) -> None:
        """Let no further request arrive, and wait for the frames that are under way."""
        self._server.stop()

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Return the frames that are over."""
        return self._server.frames

    @property
    def losses(self) -> tuple[DeviceLoss, ...]:
        """Return the devices that failed, in the order in which that was noticed."""
        with self._lock:
            return tuple(self._losses)

    def statistics(self) -> ScenarioStatistics:
        """Return what the frames so far came to."""
        return self._server.statistics()

    def close(self) -> None:
        """Stop, and give slices and workers back."""
        self._server.stop()
        self._stack.close()

    def __enter__(self) -> LiveSite:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _of_one_unit(devices: Iterable[Device]) -> list[tuple[str, str]]:
    """Return the pairs of devices that are configurations of one piece of hardware: they never work at once."""
    return [(one.name, other.name) for one, other in combinations(devices, 2) if unit_of(one) == unit_of(other)]


def _backends(isolation: Isolation | None, undo: ExitStack) -> dict[str, Backend]:
    """Return the backends that load the slices; the stack ends the processes of isolated ones."""
    if isolation is None:
        return backends()
    candidates = isolated(in_process(backends()), isolation.time_limit_s, isolates_all=True)
    for one in candidates.values():
        if isinstance(one, IsolatedBackend):
            undo.callback(one.close)
    return candidates
