"""A site that is served while things change: models come and go, periods change, a device is lost."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.pipeline.delivery import bind_bundle
from mosaic_onnx.pipeline.site.folder import Site
from mosaic_onnx.pipeline.site.serve import load_bundle, scaled
from mosaic_onnx.runtime.opening import held_cores
from mosaic_onnx.runtime.workers import Workers
from mosaic_onnx.scenarios.scenario import Group
from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.serving.model_runner import ModelRunner
from mosaic_onnx.scenarios.serving.server import ScenarioServer, ServingOrder
from mosaic_onnx.scenarios.serving.statistics import ScenarioStatistics

Situation = frozenset[str]
"""Names of the devices that are gone."""


class LiveSite:
    """Serves the plans of a table by situation; frames that have begun end on the slices that they began on."""

    def __init__(
        self,
        table: Mapping[Situation, Site],
        *,
        multiplier: float = 1.0,
        devices: Sequence[str] = (),
        trust: bool = False,
        seed: int = 0,
        check_every: int = 0,
    ) -> None:
        """Load the slices of every situation, so that a switch takes no loading.

        Args:
            table: the site for each situation; that of no lost device must be there (``read_situations``).
            multiplier: of periods and deadlines.
            devices: the user's own devices.
            trust: take what the bundles say of their devices.
            seed: of inputs and jitter.
            check_every: compare every so many frames' outputs; 0 for none.

        Raises:
            UsageError: a device is not here.
            BackendError: a slice cannot be loaded.
        """
        self._table = dict(table)
        self._lost: Situation = frozenset()
        self._lock = threading.Lock()
        base = self._table[self._lost]
        self._groups = {group.name: group for group in scaled(base.groups, multiplier)}
        self._models = list(base.bundles)
        bundles = {
            situation: {name: bind_bundle(bundle, devices, trust=trust) for name, bundle in site.bundles.items()}
            for situation, site in self._table.items()
        }
        here = {device.name: device for row in bundles.values() for one in row.values() for device in one.devices}
        workers = Workers(here, held_cores(here))
        self._runners: dict[Situation, dict[str, ModelRunner]] = {
            situation: {
                name: ModelRunner(
                    name, load_bundle(one), workers, make_inputs(one.original(), seed), check_every=check_every
                )
                for name, one in row.items()
            }
            for situation, row in bundles.items()
        }
        order = ServingOrder(base.priority, base.policy)
        names = [name for name in base.devices if name in here]
        groups, runners = list(self._groups.values()), self._runners[self._lost]
        self._server = ScenarioServer(groups, runners, order, workers, names, drop=base.drop, seed=seed)

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

    def statistics(self) -> ScenarioStatistics:
        """Return what the frames so far came to."""
        return self._server.statistics()

    def close(self) -> None:
        """Stop, and give slices and workers back."""
        self._server.stop()
        for row in self._runners.values():
            for runner in row.values():
                runner.close()
        self._server.close()

    def __enter__(self) -> LiveSite:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
