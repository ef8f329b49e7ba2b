"""Preparing a profile: options, the model, and the store of a device's measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.graph.graphs import node_keys
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.files.cache import Cache, digest
from mosaic_onnx.profiling.device_profiler import ProfilingEffort
from mosaic_onnx.profiling.digest import layer_digests
from mosaic_onnx.profiling.machine import MachineFacts, fingerprint
from mosaic_onnx.profiling.measurement_store import Conditions, MeasurementStore
from mosaic_onnx.profiling.profiled_model import ProfiledModel
from mosaic_onnx.profiling.reference_tensors import ReferenceTensors
from mosaic_onnx.rewriting.extracting import Extractor


@dataclass(frozen=True)
class ProfileOptions:
    """Options of profiling.

    Attributes:
        model_name: the model's name in the profile.
        model_sha256: of the model's file.
        inputs: the model's inputs by name; None makes seeded ones.
        seed: of made-up inputs.
        cache: stores measurements; None measures everything anew and stores nothing.
        versions: of backends, providers and drivers (``registry.Inventory.versions``).
        effort: the time to spend.
        limit_s: time limit of one slice in a child process.
        energy_s: how long each layer is repeated for its joules, where a meter can be read; 0 measures none.
        sustained_s: how long a device works before it is measured, so that it is as warm as in use; 0 for not.
    """

    model_name: str = ""
    model_sha256: str | None = None
    inputs: Mapping[str, Array] | None = None
    seed: int = 0
    cache: Cache | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    effort: ProfilingEffort = field(default_factory=ProfilingEffort)
    limit_s: float = 120.0
    energy_s: float = 0.0
    sustained_s: float = 0.0


def open_store(
    profiled: ProfiledModel,
    device: Device,
    level: Level | None,
    options: ProfileOptions,
    elsewhere: MachineFacts | None = None,
) -> MeasurementStore:
    """Return the store of a device's measurements at a level.

    Args:
        profiled: the model.
        device: what is measured.
        level: that it is held at; None where it has none.
        options: of profiling.
        elsewhere: facts of the machine that measures; None for this one.
    """
    facts = elsewhere or MachineFacts(fingerprint(), options.versions)
    conditions = Conditions(facts.versions, facts.fingerprint, profiled.identity, options.effort.kept_as)
    return MeasurementStore(options.cache, device, level, conditions)


def open_profiled_model(
    model: onnx.ModelProto, folder: str, graph: LayerGraph, options: ProfileOptions
) -> ProfiledModel:
    """Return a model that is ready to be profiled.

    Args:
        model: normalised.
        folder: where its external data lies.
        graph: its layers.
        options: name its inputs.
    """
    nodes = dict(zip(node_keys(model.graph), model.graph.node, strict=True))
    tensors = ReferenceTensors(model, folder, graph.tensors, options.inputs, options.seed)
    return ProfiledModel(
        graph=graph,
        digests=layer_digests(model, nodes, graph, folder),
        makers={
            name: index for index, layer in enumerate(graph.layers) for key in layer.nodes for name in nodes[key].output
        },
        extract=_LazyExtract(model, folder),
        reference=tensors,
        identity=digest([options.model_sha256, tensors.identity]),
    )


@dataclass
class _LazyExtract:
    """Extracts slices; the model is indexed at first use, so a profile with a filled cache does not need it."""

    model: onnx.ModelProto
    folder: str
    _extractor: Extractor | None = None

    def __call__(self, keys: Sequence[str], outputs: Sequence[str]) -> SliceModel:
        self._extractor = self._extractor or Extractor(self.model, self.folder)
        return self._extractor.extract(keys, outputs)
