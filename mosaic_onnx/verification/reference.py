"""The reference: the original model, unoptimised, on ONNX Runtime's CPU provider, with any inner tensor exposed.

Where ONNX Runtime has no kernel for a node, the onnx package's own evaluator (numpy) is used, and reports say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device, OptionValue
from mosaic_onnx.core.errors import BackendError, InputsRefusedError, ModelError
from mosaic_onnx.core.graph.graphs import initializer_names
from mosaic_onnx.core.graph.tensors import external_bytes

Runtime = Literal["ONNX Runtime", "onnx evaluator"]
BATCH_BYTES = 512 * 2**20
"""Cap on the exposed tensors of one session; further tensors go to another session."""
MAPPED_BYTES = 2**30
"""Above this, external weights stay in their file, mapped: packed for speed, each session would copy them."""
_UNKNOWN_BYTES = 2**24
"""The bytes assumed for a tensor of unknown size."""


class _Loaded(Protocol):
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...

    def close(self) -> None: ...


class Reference:
    """A loaded, unoptimised model that gives the values of any of its tensors.

    Attributes:
        runtime: the runtime that computes it.
        outputs: names of the model's outputs.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        folder: str | None,
        runtime: Runtime | None = None,
        optimisation: str = "disabled",
    ) -> None:
        """Copy the model and load it.

        Args:
            model: topologically sorted; external data may stay external.
            folder: where the external data lies.
            runtime: the runtime to use; None for ONNX Runtime, or the evaluator where it cannot.
            optimisation: ONNX Runtime's level; others than ``disabled`` are for comparisons only.

        Raises:
            ModelError: no runtime can run the model.
        """
        self._model = _with_constant_weights(model)
        self._folder = folder
        self._options: dict[str, OptionValue] = {
            "optimisation": optimisation,
            "legalise": False,
            "huge_pages": False,  # it runs a few times only
        }
        if external_bytes(model) > MAPPED_BYTES:
            self._options["session_entries.session.disable_prepacking"] = "1"
        self._declared = {value.name: value for value in model.graph.output}
        self.outputs = tuple(self._declared)
        given = {value.name for value in model.graph.input} | initializer_names(model.graph)
        self._made = {name for node in model.graph.node for name in node.output if name} - given
        self._names: tuple[str, ...] = ()
        self._loaded: _Loaded | None = None
        self.runtime: Runtime = runtime or "ONNX Runtime"
        self._settle(may_change=runtime is None)

    def run(self, inputs: Mapping[str, Array], names: Sequence[str] | None = None) -> dict[str, Array]:
        """Return the values of tensors, all from one run.

        Args:
            inputs: all of the model's inputs.
            names: tensors that nodes of the main graph produce, or inputs; by default the model's outputs.

        Raises:
            ModelError: a name is not a tensor of the model.
            InputsRefusedError: the model cannot run on these inputs.
        """
        wanted = self.outputs if names is None else tuple(dict.fromkeys(names))
        strange = [name for name in wanted if not (name in self._made or name in inputs or name in self._declared)]
        if strange:
            raise ModelError(f"{strange[0]} is not a tensor that the model makes")
        exposed = tuple(name for name in wanted if name not in inputs)
        loaded = self._load(exposed) if exposed else None
        try:
            found = {} if loaded is None else loaded.run(inputs)
        except BackendError as error:
            raise InputsRefusedError(error.message) from error
        return {name: found[name] if name in found else inputs[name] for name in wanted}

    def close(self) -> None:
        """Close the session; the next run opens another."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def _settle(self, may_change: bool) -> None:
        """Load the model, on the evaluator where ONNX Runtime cannot run it."""
        try:
            self._load(self.outputs)
        except BackendError as error:
            if not may_change or self.runtime != "ONNX Runtime":
                raise ModelError(f"there is no reference: {error.message}") from error
            self.runtime = "onnx evaluator"
            try:
                self._load(self.outputs)
            except BackendError as other:
                raise ModelError(f"there is no reference: {error.message}; {other.message}") from error

    def _load(self, names: tuple[str, ...]) -> _Loaded:
        if self._loaded is not None and names == self._names:
            return self._loaded
        self.close()
        del self._model.graph.output[:]
        for name in names:  # the name suffices: the runtimes infer the type
            self._model.graph.output.append(self._declared.get(name) or onnx.ValueInfoProto(name=name))
        loaded: _Loaded
        if self.runtime == "ONNX Runtime":
            given = tuple(value.name for value in self._model.graph.input)
            device = Device("the reference", backend="onnxruntime", options=self._options)
            loaded = BACKEND.load(SliceModel(self._model, self._folder, given, names), device)
        else:
            loaded = _Evaluator(self._model, self._folder, names)
        self._loaded, self._names = loaded, names
        return loaded


def _with_constant_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose initialisers are not inputs.

    Before IR 4 every initialiser is an input too, which a caller may replace; ONNX Runtime then computes with another
    kernel, whose last bits differ. A slice's weights are constants, so the reference's must be.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = initializer_names(copy.graph)
    inputs = [value for value in copy.graph.input if value.name not in weights]
    if len(inputs) < len(copy.graph.input):
        kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
        del copy.graph.input[:]
        copy.graph.input.extend(kept)
        copy.ir_version = max(copy.ir_version, 4)
    return copy


class _Evaluator:
    """The onnx package's evaluator as a runner."""

    def __init__(self, model: onnx.ModelProto, folder: str | None, names: Sequence[str]) -> None:
        from onnx.external_data_helper import load_external_data_for_model
        from onnx.reference import ReferenceEvaluator

        self._names = list(names)
        try:
            if folder is not None:
                load_external_data_for_model(model, folder)
            self._evaluator: Any = ReferenceEvaluator(model)
        except Exception as error:  # it may raise anything
            raise BackendError(f"the onnx package's evaluator cannot load it: {error}") from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        try:
            with np.errstate(all="ignore"):
                values = self._evaluator.run(self._names, dict(inputs))
        except Exception as error:  # it may raise anything
            raise BackendError(f"the onnx package's evaluator failed: {error}") from error
        return dict(zip(self._names, map(np.asarray, values), strict=True))

    def close(self) -> None:
        self._evaluator = None


def batches(groups: Sequence[Sequence[str]], sizes: Mapping[str, int]) -> list[range]:
    """Yield consecutive groups whose tensors fit into memory together; a group is never split.

    Args:
        groups: names of tensors that must come from one run.
        sizes: bytes by tensor name, where they are known.
    """
    found: list[range] = []
    start, total = 0, 0
    names: set[str] = set()
    for index, group in enumerate(groups):
        new = {name for name in group if name not in names}
        size = sum(sizes.get(name, 0) or _UNKNOWN_BYTES for name in new)
        if index > start and total + size > BATCH_BYTES:
            found.append(range(start, index))
            start, total, names = index, 0, set()
            new, size = set(group), sum(sizes.get(name, 0) or _UNKNOWN_BYTES for name in set(group))
        names |= new
        total += size
    if groups:
        found.append(range(start, len(groups)))
    return found
