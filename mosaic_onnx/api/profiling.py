"""Describe and measure models: ``inspect``, ``profile``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from mosaic_onnx.api.machine import select_aloud
from mosaic_onnx.core.cost_tables.shape_mix import WeighedShape, mixed_shapes
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.layer_facts import LayerFacts, layer_facts
from mosaic_onnx.core.graph.signature import TensorSpec, given_inputs, tensor_specs
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.core.progress import Note, say_nothing
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.files.bundle import read_bundle
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.files.profile_file import read_profile
from mosaic_onnx.loading.checks import Limits
from mosaic_onnx.loading.children import Children
from mosaic_onnx.loading.files import refuse_unreadable
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.editing import configured
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.efforts import with_effort
from mosaic_onnx.pipeline.options import InspectOptions, PathLike, ProfileOptions, with_paths, without_effort
from mosaic_onnx.pipeline.pipelines import INSPECT, PROFILE
from mosaic_onnx.profiling.progress import Progress


@dataclass(frozen=True)
class Inspection:
    """Describe a model before anything is measured.

    Attributes:
        graph: its layers.
        devices: those that were asked.
        reasons: [L] by device name, why it cannot run the layer; absent where it claims that it can.
        notes: what was assumed.
        input_specs: what the model takes.
        output_specs: what the model gives.
        facts: [L] multiply-accumulates and bytes.
    """

    graph: LayerGraph
    devices: tuple[Device, ...]
    reasons: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...] = ()
    input_specs: tuple[TensorSpec, ...] = ()
    output_specs: tuple[TensorSpec, ...] = ()
    facts: tuple[LayerFacts, ...] = ()

    @property
    def mac_count(self) -> int:
        """Return the multiply-accumulates of one run."""
        return sum(sum(one.macs.values()) for one in self.facts)

    @property
    def parameter_bytes(self) -> int:
        """Return the bytes of the weights, shared ones once for each layer that reads them."""
        return sum(one.parameter_bytes for one in self.facts)

    @property
    def activation_bytes(self) -> int:
        """Return the bytes of every tensor that the layers make, together."""
        return sum(one.activation_bytes for one in self.facts)

    @cached_property
    def crossing(self) -> tuple[tuple[str, ...], ...]:
        """[L] tensors that are alive across the boundary after each layer: made (or given) before, read after."""
        last_use = {name: index for index, layer in enumerate(self.graph.layers) for name in layer.inputs}
        last_use |= dict.fromkeys(self.graph.outputs, len(self.graph.layers))
        alive = dict.fromkeys(self.graph.inputs)
        boundaries = []
        for index, layer in enumerate(self.graph.layers):
            alive |= dict.fromkeys(layer.outputs)
            alive = {name: None for name in alive if last_use.get(name, -1) > index}
            boundaries.append(tuple(alive))
        return tuple(boundaries)

    def crossing_bytes(self, layer: int) -> int:
        """Bytes alive across the boundary after a layer, as far as shapes are known."""
        return sum(self.graph.tensors[name].bytes for name in self.crossing[layer] if name in self.graph.tensors)

    def as_fields(self) -> dict[str, Any]:
        """For JSON."""
        layers = [
            asdict(layer)
            | {"crossing": self.crossing[index], "crossing_bytes": self.crossing_bytes(index)}
            | {"reasons": dict(self.reasons[index])}
            for index, layer in enumerate(self.graph.layers)
        ]
        tensors = {name: asdict(info) for name, info in self.graph.tensors.items()}
        names = [device.name for device in self.devices]
        return {
            "inputs": [asdict(one) for one in self.input_specs],
            "outputs": [asdict(one) for one in self.output_specs],
            "mac_count": self.mac_count,
            "parameter_bytes": self.parameter_bytes,
            "activation_bytes": self.activation_bytes,
            "layers": [
                layer | {"mac_count": sum(fact.macs.values())} for layer, fact in zip(layers, self.facts, strict=True)
            ],
            "tensors": tensors,
            "devices": names,
            "notes": list(self.notes),
        }


def inspect(model: PathLike, *, devices: Sequence[str] = (), **options: Unpack[InspectOptions]) -> Inspection:
    """Layers of a model, and which device claims to run which.

    Args:
        model: the model's file, or a bundle's folder for the model before it was cut.
        devices: names, devices files or shipped descriptions; none for every real device of the model's precision.
        **options: see ``InspectOptions``.

    Raises:
        ModelError: the file is refused.
        UsageError: a device or shape does not fit.
    """
    path = Path(model)
    if path.is_dir():
        path = read_bundle(path).original_path
    with Children(ahead=True) as children:
        state = run_passes(configured(INSPECT, options), State(path, select(devices), children=children))
    normalised = state.normalised
    return Inspection(
        state.graph,
        state.selection.chosen,
        state.annotation.reasons,
        notes=(*normalised.defaults, *normalised.notes),
        input_specs=tensor_specs(given_inputs(normalised.model.graph)),
        output_specs=tensor_specs(normalised.model.graph.output),
        facts=layer_facts(state.graph, normalised.model),
    )


def profile(
    model: PathLike,
    *,
    devices: Sequence[str] = (),
    cache: bool = True,
    progress: Progress | None = None,
    note: Note = say_nothing,
    **options: Unpack[ProfileOptions],
) -> Profile:
    """Measure every layer of a model on every device.

    Args:
        model: the model's file.
        devices: names, devices files or shipped descriptions; none for every real device of the model's precision.
        cache: keep measurements, and use kept ones.
        progress: told how far the measuring has come.
        note: told what was assumed.
        **options: see ``ProfileOptions``.

    Raises:
        ModelError: the file is refused, or no device runs some layer.
        UsageError: a device, shape or input does not fit.
        BackendError: a device failed.
        ProfilingInterrupted: Ctrl-C; it holds what was measured until then.
    """
    refuse_unreadable(Path(model), Limits().file_bytes)
    with Children(ahead=True) as children:
        selection = select_aloud(devices, note)
        start = State(Path(model), selection, Cache() if cache else None, note, progress, children=children)
        given, effort = without_effort(with_paths(options))
        return run_passes(with_effort(configured(PROFILE, given), effort), start).profile


def load_profile(file: PathLike) -> Profile:
    """Read a profile from its file.

    Raises:
        ModelError: the file is wrong; the message names the key.
    """
    return read_profile(file)


def mix_shapes(profiles: Sequence[Profile | PathLike], weights: Sequence[float]) -> Profile:
    """Return one profile of several shapes of one model: one placement, the weighted sum of their costs.

    Args:
        profiles: one for each shape, or their files.
        weights: how often each shape runs.

    Raises:
        ModelError: a file is wrong.
        UsageError: the profiles are not of one model on the same devices, or the weights are not one for each.
    """
    if len(profiles) != len(weights):
        raise UsageError(f"{len(profiles)} shapes have {len(weights)} weights", "give one weight for each shape")
    read = [one if isinstance(one, Profile) else read_profile(one) for one in profiles]
    return mixed_shapes([WeighedShape(one, weight) for one, weight in zip(read, weights, strict=True)])
