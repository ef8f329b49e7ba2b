"""The paper's ten workloads (Table I), built offline with seeded weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import onnx

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.zoo.inception import inception_v4
from mosaic_onnx.zoo.mobile import mnasnet_b1, mobilenet_v2
from mosaic_onnx.zoo.plain import squeezenet, vgg16
from mosaic_onnx.zoo.resnet import resnet_v2_152
from mosaic_onnx.zoo.weights import SeededWeights, ShapesOnly, Weights


@dataclass(frozen=True)
class Workload:
    """One row of Table I.

    Attributes:
        name: its name on the command line.
        code: the paper's short name.
        large: one of the seven large models, not of the three small ones.
        layer_count: number of the paper's layers.
        model_bytes: the paper's "model size".
        gpu_s: the paper's latency on the GPU.
        make: the function that builds it from weights.
    """

    name: str
    code: str
    large: bool
    layer_count: int
    model_bytes: float
    gpu_s: float
    make: Callable[[Weights], onnx.ModelProto]


_ROWS = (
    Workload("inception_v4", "IN", True, 20, 183.7e6, 0.4300, inception_v4),
    Workload("mnasnet_1.0", "MN-1.0", True, 20, 321.9e6, 0.0668, partial(mnasnet_b1, width=1.0)),
    Workload("mnasnet_1.3", "MN-1.3", True, 20, 511.6e6, 0.0813, partial(mnasnet_b1, width=1.3)),
    Workload("mobilenet_v2_1.3", "MO-1.3", True, 18, 187.8e6, 0.0491, partial(mobilenet_v2, width=1.3)),
    Workload("mobilenet_v2_1.4", "MO-1.4", True, 18, 214.7e6, 0.0554, partial(mobilenet_v2, width=1.4)),
    Workload("resnet_v2_152", "RN", True, 53, 260.4e6, 0.6038, resnet_v2_152),
    Workload("vgg16", "VGG", True, 16, 407.4e6, 0.2187, vgg16),
    Workload("mnasnet_0.5", "MN-0.5", False, 20, 98.3e6, 0.0427, partial(mnasnet_b1, width=0.5)),
    Workload("mobilenet_v2_1.0", "MO-1.0", False, 18, 94.5e6, 0.0366, partial(mobilenet_v2, width=1.0)),
    Workload("squeezenet", "SN", False, 10, 34.8e6, 0.0325, squeezenet),
)
WORKLOADS: Mapping[str, Workload] = {row.name: row for row in _ROWS}
"""Table I in the paper's order, by name."""


def build(name: str, seed: int = 0) -> onnx.ModelProto:
    """Build a workload with seeded weights (He-normal, f32); the same seed gives the same bytes.

    Raises:
        UsageError: no workload has this name.
    """
    return workload(name).make(SeededWeights(seed))


def build_shapes(name: str) -> onnx.ModelProto:
    """Return a workload's graph with weights that have shapes but no data: for counting, not for running.

    Raises:
        UsageError: no workload has this name.
    """
    return workload(name).make(ShapesOnly())


def workload(name: str) -> Workload:
    """Return the row of Table I by name.

    Raises:
        UsageError: no workload has this name.
    """
    if name not in WORKLOADS:
        raise UsageError(f"no workload is called {name!r}", f"one of: {', '.join(WORKLOADS)}")
    return WORKLOADS[name]
