"""Choose a runtime's optimisation level for each slice, by measurement.

More optimisation is not always faster; some transformers run faster with less. Every level that a backend offers is
loaded beside the device's own level, and both run in turn on the tensors that the slice reads in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial

from mosaic_onnx.backends.base import Array, Backend, OffersOptimisations, SliceModel
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.plans import Slice
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.interleaved import measure_interleaved
from mosaic_onnx.profiling.profiled_model import ProfiledModel
from mosaic_onnx.profiling.setup import ProfileOptions, open_profiled_model, open_store

AS_IT_IS = ""
"""The name of the device with its own options."""
LEAST_GAIN = 0.02
"""Another level is chosen if the whole interval of its ratio lies below this."""
HOPELESS = 1.1
"""Levels that are this much slower in the first rounds are not measured further."""
MOST_NODES = 20_000
"""Larger slices are not tried: loading them at every level takes longer than it may save."""
SECONDS = 1.0
"""No round starts after this time, where nobody says another."""


@dataclass(frozen=True)
class PickOptimisation:
    """Chooses the optimisation level of each slice.

    Attributes:
        normalised: the model.
        graph: its layers.
        devices: by name.
        backends: by name.
        options: as for ``profile_model``; the cache stores the choices.
        picked: the choices, by first layer, last layer and state.
    """

    normalised: Normalised
    graph: LayerGraph
    devices: Mapping[str, Device]
    backends: Mapping[str, Backend]
    options: ProfileOptions
    picked: dict[tuple[int, int, str], str] = field(default_factory=dict)

    def __call__(self, one: Slice) -> Device | None:
        """Return the slice's device with another optimisation level; None where its own is best."""
        device = self.devices[device_of(one.state)]
        backend = self.backends.get(device.backend)
        if device.host or not isinstance(backend, OffersOptimisations) or not self._is_worth_it(one):
            return None
        offered = backend.optimisations(device)
        if not offered:
            return None
        key = one.layers[0], one.layers[-1], one.state
        if key not in self.picked:
            self.picked[key] = self._recalled(backend, device, offered, key[:2])
        return offered.get(self.picked[key])

    def _is_worth_it(self, one: Slice) -> bool:
        """Return whether there is time for it, and the slice can be measured and is not too large for it."""
        if not self.options.effort.levels_s:
            return False
        return one.layers == tuple(range(one.layers[0], one.layers[-1] + 1)) and len(one.nodes) <= MOST_NODES

    @cached_property
    def _profiled(self) -> ProfiledModel:
        return open_profiled_model(self.normalised.model, self.normalised.folder, self.graph, self.options)

    def _recalled(self, backend: Backend, device: Device, offered: Mapping[str, Device], span: tuple[int, int]) -> str:
        """Return the stored choice, or the result of measuring now."""
        store = open_store(self._profiled, device, None, self.options)
        digest = self._profiled.digest(span)
        known = store.names("optimisation", digest)
        if known:
            return known[0]
        inputs = self._profiled.trial(span, self.options.effort.slice).inputs
        choices, limit_s = {AS_IT_IS: device, **offered}, self.options.effort.levels_s
        best = fastest(self._profiled.slice_model(span), inputs, backend, choices, limit_s)
        store.keep_names("optimisation", digest, (best,))
        return best


def fastest(
    model: SliceModel,
    inputs: Mapping[str, Array],
    backend: Backend,
    choices: Mapping[str, Device],
    limit_s: float = SECONDS,
) -> str:
    """Return the name of the device on which the slice runs fastest; ``AS_IT_IS`` unless another one is clearly faster.

    Args:
        model: the slice.
        inputs: the tensors that it reads.
        backend: the backend that loads it.
        choices: devices by name, ``AS_IT_IS`` among them; those that fail are skipped.
        limit_s: no round starts after this time.
    """
    calls = {}
    with ExitStack() as stack:
        for name, device in choices.items():
            try:
                runner = backend.load(model, device)
                stack.callback(runner.close)
                runner.run(inputs)
            except BackendError:
                continue
            calls[name] = partial(runner.run, inputs)
        if AS_IT_IS not in calls or len(calls) == 1:
            return AS_IT_IS
        first = measure_interleaved(calls, round_count=3, repeat_count=1, settle_s=0.0)
        slowest_s = HOPELESS * first.median_s(AS_IT_IS)
        calls = {name: call for name, call in calls.items() if name == AS_IT_IS or first.median_s(name) < slowest_s}
        if len(calls) == 1:
            return AS_IT_IS
        timings = measure_interleaved(calls, budget_s=limit_s)
    best = min(calls, key=timings.median_s)
    return best if timings.ratio(best, AS_IT_IS).high < 1 - LEAST_GAIN else AS_IT_IS
