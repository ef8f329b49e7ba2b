"""The whole model with disturbed tensors, to find the effect of a layer's error on the outputs.

After every chosen tensor there is an Add, whose other summand is an input of the model: zeros, except for disturbed
tensors. One optimised session serves all layers, since errors are differences between two of its runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.graph.graphs import initializer_names
from mosaic_onnx.core.layers import TensorInfo
from mosaic_onnx.core.process.cpu_cores import default_thread_count

FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16})
"""Types of tensors that can be disturbed."""


def with_summands(model: onnx.ModelProto, tensors: Mapping[str, TensorInfo]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a copy of the model that adds an input to each of some tensors, and the inputs' names by tensor.

    Args:
        model: normalised.
        tensors: made by nodes of the main graph; of a type in ``FLOATS``, their shapes known.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, 4)
    weights = initializer_names(copy.graph)
    given = [value for value in model.graph.input if value.name not in weights]
    summands = {name: f"{name}/moved by" for name in tensors}
    del copy.graph.input[:], copy.graph.node[:]
    copy.graph.input.extend(given)
    for name, info in tensors.items():
        copy.graph.input.append(helper.make_tensor_value_info(summands[name], info.element_type, info.shape))
    for node in model.graph.node:
        kept = copy.graph.node.add()
        kept.CopyFrom(node)
        for index, name in enumerate(node.output):
            if name in tensors:
                kept.output[index] = f"{name}/as it is"
                copy.graph.node.append(helper.make_node("Add", [f"{name}/as it is", summands[name]], [name]))
    return copy, summands


class DisturbedModel:
    """The loaded model, whose tensors can be disturbed."""

    def __init__(self, model: onnx.ModelProto, folder: str | None, tensors: Mapping[str, TensorInfo]) -> None:
        """Load it.

        Args:
            model: normalised.
            folder: where its external data lies.
            tensors: tensors that can be disturbed; see ``with_summands``.

        Raises:
            BackendError: ONNX Runtime cannot run it.
        """
        changed, self._summands = with_summands(model, tensors)
        zeros = _zeros(tensors)
        self._still = {self._summands[name]: zeros[name] for name in tensors}
        inputs = tuple(value.name for value in changed.graph.input)
        outputs = tuple(value.name for value in changed.graph.output)
        options = {"legalise": False, "threads": default_thread_count()}
        device = Device("the disturbed model", backend="onnxruntime", options=options)
        self._runner = BACKEND.load(SliceModel(changed, folder, inputs, outputs), device)

    def run(self, inputs: Mapping[str, Array], moved: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Return the model's outputs with some tensors disturbed.

        Args:
            inputs: the model's inputs.
            moved: the summands, by tensor.

        Raises:
            BackendError: the run failed.
        """
        summands = {self._summands[name]: array for name, array in (moved or {}).items()}
        return self._runner.run({**inputs, **self._still, **summands})

    def close(self) -> None:
        """Give the session back."""
        self._runner.close()


def _zeros(tensors: Mapping[str, TensorInfo]) -> dict[str, Array]:
    """Return zeros of every tensor's type and shape, all in the same memory."""
    most = max((math.prod(info.shape or ()) for info in tensors.values()), default=0)
    memory = np.zeros(most * 8, np.uint8)
    found = {}
    for name, info in tensors.items():
        dtype = helper.tensor_dtype_to_np_dtype(info.element_type)
        shape: Sequence[int] = info.shape or ()
        found[name] = memory[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
    return found
