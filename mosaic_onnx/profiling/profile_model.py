"""Measure the cost of each layer on each device, and of transfers between host and devices.

A backend that states the costs of its devices (``CostSource``, such as simulated ones) is asked instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mosaic_onnx.backends.base import (
    Backend,
    CostSource,
    KernelTimer,
    LevelControl,
    SetsLevels,
    SwitchCostSource,
)
from mosaic_onnx.backends.hardware.energy_meters import find_meters
from mosaic_onnx.backends.sharing import exclusive_pairs
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import BackendError, ModelError
from mosaic_onnx.core.graph.layer_facts import LayerFacts, layer_facts
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, SwitchCost, TransferCost
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.aggregate import state_costs
from mosaic_onnx.profiling.annotation import Annotation, backend_of, refusals
from mosaic_onnx.profiling.build_profile import (
    ModelIdentity,
    StateResult,
    compose_profile,
    measured_result,
    unmeasured_result,
)
from mosaic_onnx.profiling.device_profiler import DeviceProfiler, DeviceTimings
from mosaic_onnx.profiling.energy.joules import idle_power_w
from mosaic_onnx.profiling.energy.profiler import EnergyProfiler, LayerPower
from mosaic_onnx.profiling.estimators.levels import fill_levels
from mosaic_onnx.profiling.levels import held_at, measured_states, switch_costs
from mosaic_onnx.profiling.machine import MachineFacts, fingerprint
from mosaic_onnx.profiling.measurement_store import MeasurementStore
from mosaic_onnx.profiling.measuring.copies import SHARED, copy_entries
from mosaic_onnx.profiling.measuring.meter import Meter, open_meter
from mosaic_onnx.profiling.profiled_model import ProfiledModel
from mosaic_onnx.profiling.progress import Progress, Ticker
from mosaic_onnx.profiling.setup import ProfileOptions, open_profiled_model, open_store

__all__ = ["ProfileOptions", "ProfilingInterrupted", "profile_model"]

THROTTLED = 0.97
"""A device that runs below this share of its level's frequency is throttled."""
BUSY = 1.5
"""Above this ratio of median to minimum, other load disturbed the measurement."""


class ProfilingInterrupted(KeyboardInterrupt):
    """The user interrupted profiling.

    Attributes:
        profile: the measurements so far; layers without one say so in their ``reasons``.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__("profiling was interrupted")
        self.profile = profile


def profile_model(
    normalised: Normalised,
    graph: LayerGraph,
    devices: Sequence[Device],
    backends: Mapping[str, Backend],
    options: ProfileOptions | None = None,
    progress: Progress | None = None,
    *,
    annotation: Annotation | None = None,
) -> Profile:
    """Measure a model on devices.

    Args:
        normalised: the model.
        graph: its layers.
        devices: those that take part, in the order of the profile's states.
        backends: by name.
        options: how to measure.
        progress: called with the progress.
        annotation: the backends' claims, if they were asked already.

    Raises:
        BackendError: a device's backend is not installed, or its memory cannot be measured.
        InputsRefusedError: the model itself does not run on the inputs, and no device runs some layer without it.
        UsageError: a device's options or the model's inputs do not fit.
        ProfilingInterrupted: Ctrl-C; it holds the measurements so far, and so does the cache.
    """
    return _Profiling(
        normalised, graph, devices, backends, options or ProfileOptions(), Ticker(progress), annotation
    ).run()


def _is_measured(layer: ProfileLayer) -> bool:
    """Return whether a device ran the layer."""
    return any(cost is not None for cost in layer.cost.values())


@dataclass
class _Profiling:
    """One call of ``profile_model``: its arguments and its results so far."""

    normalised: Normalised
    graph: LayerGraph
    devices: Sequence[Device]
    backends: Mapping[str, Backend]
    options: ProfileOptions
    ticker: Ticker
    annotation: Annotation | None = None
    found: dict[str, DeviceTimings] = field(default_factory=dict)
    stated: dict[str, StateResult] = field(default_factory=dict)
    copies: list[TransferCost] = field(default_factory=list)
    switches: list[SwitchCost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    power: dict[str, LayerPower] = field(default_factory=dict)
    frequency_hz: dict[str, float] = field(default_factory=dict)
    elsewhere: dict[str, MachineFacts] = field(default_factory=dict)

    def run(self) -> Profile:
        devices = [self._with_settable_levels(device) for device in self.devices]
        profiled = open_profiled_model(self.normalised.model, self.normalised.folder, self.graph, self.options)
        try:
            self.ticker.device_count = len(devices)
            for number, device in enumerate(devices):
                self.ticker.begin_device(number)
                backend = backend_of(device, self.backends)
                if isinstance(backend, CostSource):
                    self._ask(backend, device)
                else:
                    self._measure(profiled, backend, device)
        except KeyboardInterrupt:
            raise ProfilingInterrupted(self._profile(devices, profiled)) from None
        profile = fill_levels(self._profile(devices, profiled))
        if profiled.reference.refusal is not None and any(not _is_measured(layer) for layer in profile.layers):
            raise profiled.reference.refusal  # the inputs are to blame, not the devices
        return profile

    def _with_settable_levels(self, device: Device) -> Device:
        """Return the device; without levels if they cannot be set, as it is then measured once."""
        backend = backend_of(device, self.backends)
        if not device.levels or isinstance(backend, CostSource):
            return device
        reason = f"backend {device.backend} cannot set them"
        if device.host:
            reason = "those of another machine cannot be set"
        elif isinstance(backend, SetsLevels) and not (reason := backend.offered_levels(device).why_not):
            return device
        self.notes.append(f"{device.name}: its levels are left out: {reason}")
        return dataclasses.replace(device, levels=())

    def _ask(self, backend: CostSource, device: Device) -> None:
        """Add the costs of a described device."""
        for state in device.states:
            said = backend.layer_costs(self._facts, device, state)
            costs = {index: cost for index, cost in enumerate(said) if isinstance(cost, Cost)}
            reasons = {index: cost for index, cost in enumerate(said) if isinstance(cost, str)}
            self.stated[state] = StateResult(state, costs, reasons)
        self.copies.extend(backend.copies(device))
        if isinstance(backend, SwitchCostSource):
            self.switches.extend(backend.switches(device))

    @cached_property
    def _facts(self) -> tuple[LayerFacts, ...]:
        """Return the facts of all layers, for descriptions."""
        return layer_facts(self.graph, self.normalised.model)

    def _measure(self, profiled: ProfiledModel, backend: Backend, device: Device) -> None:
        """Measure a device, at its lowest and highest level if levels can be set."""
        if self.annotation is None:
            refused = refusals(self.normalised, self.graph, device, backend)
        else:
            refused = self.annotation.refused(device.name)
        with contextlib.closing(open_meter(backend, device, self.options.limit_s)) as meter:
            if (elsewhere := meter.machine()) is not None:
                self.elsewhere[device.name] = elsewhere
            for state, level in measured_states(device):
                self.found[state] = DeviceTimings(device, dict(refused))
                store = open_store(profiled, device, level, self.options, meter.machine())
                with held_at(backend, device, level) as control:
                    self._warm_up(profiled, meter)
                    DeviceProfiler(
                        profiled=profiled,
                        timings=self.found[state],
                        meter=meter,
                        store=store,
                        effort=self.options.effort,
                        ticker=self.ticker,
                        times_kernels=isinstance(backend, KernelTimer),
                    ).run()
                    self._measure_power(profiled, meter, store, state)
                    self._read_back(state, level, control)
            self._measure_switches(backend, device)
            profiled.learn(state_costs(self.found[state], self.graph).layer_s)
            if len(self.found[device.states[0]].refused) < len(self.graph.layers):
                self._measure_copies(meter, device, store)

    def _warm_up(self, profiled: ProfiledModel, meter: Meter) -> None:
        """Run the whole model until the device is as warm as in use; a device that cannot run it whole stays cold."""
        if not self.options.sustained_s:
            return
        span = 0, len(self.graph.layers) - 1
        try:
            inputs = profiled.trial(span, self.options.effort.slice).inputs
            meter.energy(profiled.slice_model(span), inputs, self.options.sustained_s)
        except (BackendError, ModelError) as error:
            self.notes.append(f"a device was measured cold, since it cannot run the whole model: {error.message}")

    def _measure_power(self, profiled: ProfiledModel, meter: Meter, store: MeasurementStore, state: str) -> None:
        """Measure the power of each layer, if joules are wanted."""
        device = self.found[state].device
        if self.options.energy_s and not device.host:  # the meters are this machine's
            layers = [index for index in range(len(self.graph.layers)) if index not in self.found[state].refused]
            profiler = EnergyProfiler(profiled, meter, store, self.options.energy_s, self._idle_w, self.ticker)
            self.power[state] = profiler.run(layers)

    @cached_property
    def _idle_w(self) -> float:
        """Return the idle power of the machine, measured before the first layer."""
        return idle_power_w(find_meters().meters)

    def _read_back(self, state: str, level: Level | None, control: LevelControl | None) -> None:
        """Record the actual frequency, and whether it fell below the level's."""
        hertz = None if control is None else control.read_hz()
        if hertz is None or level is None:
            return
        self.frequency_hz[state] = hertz
        if hertz < THROTTLED * level.frequency_hz:
            ran, asked = (f"{value / 1e6:.0f} MHz" for value in (hertz, level.frequency_hz))
            self.notes.append(
                f"{state} ran at {ran} at the end of its measurement instead of {asked}: it was throttled"
            )

    def _measure_switches(self, backend: Backend, device: Device) -> None:
        """Measure the time of changing the device's level."""
        try:
            self.switches.extend(switch_costs(backend, device))
        except BackendError as error:
            self.notes.append(f"{device.name}: changing its level was not timed: {error.message}")

    def _measure_copies(self, meter: Meter, device: Device, store: MeasurementStore) -> None:
        """Measure the transfers of a device with a memory of its own."""
        known = store.copies()
        if known is None:
            try:
                known = meter.copies(self.options.effort.layer) or SHARED
            except BackendError as error:
                self._refuse_all(device, error.message)
                return
            store.keep_copies(known)
        sizes = {name: tensor.bytes for name, tensor in self.graph.tensors.items()}
        self.copies.extend(copy_entries(device.name, known, sizes))

    def _note_busy(self, state: str, timings: DeviceTimings) -> None:
        """Note devices whose measurements other load disturbed: their minima are doubtful."""
        slowed = [one.median_s / one.seconds for one in timings.slices.values() if one.seconds and one.median_s]
        if slowed and max(slowed) > BUSY:
            self.notes.append(
                f"the machine was busy while {state} was measured (half of the runs took {max(slowed):.1f} times the "
                "least, or more), so figures may be off"
            )

    def _refuse_all(self, device: Device, reason: str) -> None:
        """Refuse all layers on a device whose memory cannot be used."""
        for state in device.states:
            if state in self.found:
                refused = self.found[state].refused
                refused.update((index, reason) for index in range(len(self.graph.layers)) if index not in refused)

    def _profile(self, devices: Sequence[Device], profiled: ProfiledModel) -> Profile:
        """Return the profile of the measurements so far."""
        layer_count = len(self.graph.layers)
        results = []
        for state in (state for device in devices for state in device.states):
            if state in self.found:
                timings = self.found[state]
                costs = state_costs(timings, self.graph)
                self._note_busy(state, timings)
                result = measured_result(state, costs, timings.refused, layer_count)
                power = self.power.get(state)
                results.append(dataclasses.replace(result, costs=power.joules(result.costs)) if power else result)
            else:
                results.append(self.stated.get(state) or unmeasured_result(state, layer_count))
        cache_notes = self.options.cache.notes if self.options.cache else []
        notes = [*self.notes, *profiled.notes, *cache_notes]
        meta: dict[str, object] = {"machine": fingerprint(), "versions": dict(self.options.versions)}
        if self.elsewhere:
            meta["other_machines"] = {name: dataclasses.asdict(facts) for name, facts in self.elsewhere.items()}
        if notes:
            meta["notes"] = notes
        if self.frequency_hz:
            meta["frequency_hz"] = dict(self.frequency_hz)
        if self.power:
            meta["energy"] = self._energy_facts()
            first = next(device.name for device in devices if device.states[0] in self.power)
            devices = [
                dataclasses.replace(device, idle_w=self._idle_w) if device.name == first else device
                for device in devices
            ]
        identity = ModelIdentity(self.options.model_name or self.normalised.model.graph.name, self.options.model_sha256)
        profile = compose_profile(identity, self.graph, devices, results, self.copies, meta)
        pairs = exclusive_pairs(devices, self.backends)
        return dataclasses.replace(profile, switches=tuple(self.switches), exclusive=pairs)

    def _energy_facts(self) -> dict[str, object]:
        """Return the meter, the difference of its readings, and the idle power that was subtracted."""
        errors = {state: power.error for state, power in self.power.items()}
        meter = next((power.meter for power in self.power.values() if power.meter), "")
        return {"source": "measured", "meter": meter, "error": errors, "idle_w": self._idle_w}
