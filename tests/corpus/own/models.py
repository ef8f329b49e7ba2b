"""The corpus that the repository brings: models that everybody has, with seeded weights.

Three sources: ONNX text in ``texts/`` (one construct a file), the classic networks whose graphs the onnx wheel carries,
and the zoo.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import helper, numpy_helper

from mosaic_onnx.zoo import build

TEXTS = Path(__file__).with_name("texts")
_LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_IMAGE_EXTENT = 64
"""Pixels; what a light model that takes any image is fed with."""
_FREE_EXTENT = ("squeezenet",)
"""Light models without a fully connected layer take smaller images."""
_KEPT = "kept_"
_WEIGHT = "weight_"


def from_text(name: str) -> onnx.ModelProto:
    """Return the model of ``texts/NAME.onnxtxt``.

    Inputs named ``weight_…`` become seeded weights; those named ``kept_…`` become weights and stay inputs, as all
    weights did before IR 4. Lines that begin with ``#`` are comments.
    """
    lines = (TEXTS / f"{name}.onnxtxt").read_text("utf-8").splitlines()
    model = onnx.parser.parse_model("\n".join(line for line in lines if not line.startswith("#")))
    graph = model.graph
    for value in graph.input:
        if value.name.startswith((_WEIGHT, _KEPT)):
            tensor_type = value.type.tensor_type
            shape = tuple(dim.dim_value for dim in tensor_type.shape.dim)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor_type.elem_type))
            graph.initializer.append(numpy_helper.from_array(_seeded(f"{name}/{value.name}", shape, dtype), value.name))
    inputs = [value for value in graph.input if not value.name.startswith(_WEIGHT)]
    del graph.input[:]
    graph.input.extend(inputs)
    return model


def from_wheel(name: str) -> onnx.ModelProto:
    """Return one of the onnx wheel's light models; what it fills with one constant gets seeded weights."""
    model = onnx.load(_LIGHT / f"light_{name}.onnx")
    graph = model.graph
    given = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in given:
            shape = tuple(numpy_helper.to_array(given.pop(node.input[0])).tolist())
            values = _seeded(f"{name}/{node.output[0]}", shape, np.dtype(np.float32))
            given[node.output[0]] = numpy_helper.from_array(values, node.output[0])
        else:
            nodes.append(node)
    (image,) = (
        value for value in graph.input if value.name not in given and len(value.type.tensor_type.shape.dim) == 4
    )
    if name in _FREE_EXTENT:
        for dim in image.type.tensor_type.shape.dim[2:]:
            dim.dim_value = _IMAGE_EXTENT
    read = {name for node in nodes for name in node.input}
    weights = [tensor for key, tensor in given.items() if key in read]
    model.graph.CopyFrom(helper.make_graph(nodes, name, [image], graph.output, weights))
    model.ir_version = max(model.ir_version, 4)  # weights need not be inputs
    return model


def _seeded(key: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> np.ndarray:
    """Draw weights of a size that keeps a network's values in range; the same key gives the same bytes."""
    random = np.random.default_rng(zlib.crc32(key.encode()))
    if dtype.kind == "i":
        return random.integers(-100, 100, shape).astype(dtype)
    if len(shape) < 2:
        return random.uniform(0.1, 1.0, shape).astype(dtype)  # a variance must be positive
    fan_in = int(np.prod(shape[1:]))
    return (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(dtype)


TEXT_NAMES = tuple(sorted(path.stem for path in TEXTS.glob("*.onnxtxt")))
WHEEL_NAMES = ("squeezenet", "shufflenet", "resnet50", "densenet121", "inception_v1", "inception_v2")
"""Alexnet, vgg19 and zfnet512 are left out: their weights take 230 to 550 MiB."""
ZOO_NAMES = ("mnasnet_0.5", "mobilenet_v2_1.0")

BUILDERS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    **{f"own/{name}": partial(from_text, name) for name in TEXT_NAMES},
    **{f"own/light_{name}": partial(from_wheel, name) for name in WHEEL_NAMES},
    **{f"own/{name}": partial(build, name) for name in ZOO_NAMES},
}
"""By the name that tests know a model by."""
SMALL = tuple(f"own/{name}" for name in TEXT_NAMES)


def write(name: str, folder: Path) -> Path:
    """Build a model of the own corpus and write it into a folder."""
    path = folder / f"{name.rpartition('/')[2]}.onnx"
    onnx.save(BUILDERS[name](), path)
    return path
