"""Concrete shapes for a model's inputs: given by the caller, or guessed from the names of their free dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.signature import given_inputs

Shapes = Mapping[str, tuple[int, ...]]
Role = Literal["batch", "image", "latent", "frames", "samples", "past", "total", "vocabulary", "sequence", "other"]

_ROLE_WORDS: tuple[tuple[Role, str], ...] = (
    ("total", r"total|\+"),
    ("past", r"past|cache|history|prev"),
    ("batch", r"^(?!.*len).*batch|^[nb]$|^bs$"),
    ("image", r"height|width|^[hw]$|image|^x[hw]$"),
    ("samples", r"audio|samples|wave|^time$"),
    ("frames", r"frame"),
    ("vocabulary", r"vocab|classes"),
    ("sequence", r"seq|len|token|words|steps|blocks"),
)
"""First match wins; patterns are searched in the lower-case name of the dimension."""

_FIRST: Mapping[str, int] = {
    "batch": 1,
    "image": 224,
    "latent": 32,
    "frames": 128,
    "samples": 16000,
    "past": 8,
    "vocabulary": 128,
    "sequence": 8,
    "other": 8,
}
_STEPS = (16, 32, 64, 128, 1, 256, 512, 576, 1024, 16000)
_SIDES = (320, 256, 512, 64, 32)
_LATER: tuple[dict[str, int], ...] = (
    {"sequence": 4, "past": 4, "other": 4},
    *({"sequence": size, "other": size} for size in _STEPS),
    *({"image": size, "latent": size, "other": size} for size in _SIDES),
    {"sequence": 1, "past": 1, "other": 1},
    {"past": 0},
)
"""Further guesses, tried in turn where the first does not run; roles left out keep their first guess."""


@dataclass(frozen=True)
class FreeDim:
    """One free dimension of a model's input.

    Attributes:
        tensor: the input.
        axis: its position.
        symbol: the dimension's name; dimensions of one name are equal. Generated where it has none.
        role: its meaning (batch, sequence, …), guessed from the name.
    """

    tensor: str
    axis: int
    symbol: str
    role: Role


def free_dims(graph: onnx.GraphProto) -> list[FreeDim]:
    """Return the free dimensions of the inputs that a caller must give."""
    found = []
    for value in given_inputs(graph):
        if not value.type.HasField("tensor_type"):
            continue
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if not dim.HasField("dim_value") or dim.dim_value < 0:
                symbol = dim.dim_param or f"{value.name}[{axis}]"
                found.append(FreeDim(value.name, axis, symbol, _role(value, axis)))
    return found


def _role(value: onnx.ValueInfoProto, axis: int) -> Role:
    """Return the role of an input's dimension, by its name, else by the input's name and layout (N, C, H, W)."""
    dims = value.type.tensor_type.shape.dim
    word = dims[axis].dim_param.lower()
    picture: Role = "image" if len(dims) == 4 and dims[1].dim_value in (0, 1, 3) else "latent"
    for role, pattern in _ROLE_WORDS:
        if re.search(pattern, word):
            return picture if role == "image" else role
    is_state = re.search(r"state|hidden|cell|^[hc]0$", value.name.lower())
    if axis == 0 or (is_state and axis == 1 and len(dims) == 3):
        return "batch"
    return picture if len(dims) >= 4 and axis >= 2 else "other"


def guesses(dims: list[FreeDim]) -> Iterator[dict[str, int]]:
    """Yield distinct assignments of sizes to the symbols, the most likely first."""
    seen = []
    for change in ({}, *_LATER):
        sizes: dict[str, int] = {**_FIRST, **change}
        for total in (sizes["past"] + sizes["sequence"], sizes["sequence"], sizes["past"]):
            plain = {dim.symbol: sizes.get(dim.role, total) for dim in dims}
            successors = {dim.symbol: plain[base] + 1 for dim in dims if (base := _one_less(dim.symbol)) in plain}
            for guess in ({**plain, **successors}, plain):
                if guess not in seen:
                    seen.append(guess)
                    yield guess


def _one_less(symbol: str) -> str:
    """Return the symbol that this one exceeds by one, by its name (``batch_plus_1``, ``n+1``); else an empty text."""
    found = re.fullmatch(r"(\w+?)(?:_plus_| ?\+ ?)1", symbol)
    return found.group(1) if found else ""


def fix_inputs(model: onnx.ModelProto, shapes: Shapes, symbols: Mapping[str, int]) -> None:
    """Write concrete dimensions into the model's inputs, and into every other value that names the same symbols.

    Args:
        model: changed in place.
        shapes: whole shapes by input name.
        symbols: sizes of free dimensions, by symbol (``free_dims``).
    """
    for value in given_inputs(model.graph):
        tensor_type = value.type.tensor_type
        if value.name in shapes:
            tensor_type.shape.ClearField("dim")
            for size in shapes[value.name]:
                tensor_type.shape.dim.add().dim_value = size
        elif value.type.HasField("tensor_type"):
            for axis, dim in enumerate(tensor_type.shape.dim):
                if not dim.HasField("dim_value") or dim.dim_value < 0:
                    dim.dim_value = symbols.get(dim.dim_param or f"{value.name}[{axis}]", 1)
    for value in (*model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols and dim.dim_param:
                dim.dim_value = symbols[dim.dim_param]


def symbols_of_shapes(graph: onnx.GraphProto, shapes: Shapes) -> dict[str, int]:
    """Return the sizes that given shapes fix, by symbol.

    Raises:
        UsageError: a shape names no input, has another rank than the input, or contradicts it or another shape.
    """
    inputs = {value.name: value for value in given_inputs(graph)}
    settled: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise UsageError(
                f"--input-shape names {name!r}, which is not an input of the model", f"inputs: {', '.join(inputs)}"
            )
        tensor_type = inputs[name].type.tensor_type
        if not inputs[name].type.HasField("tensor_type"):
            raise UsageError(f"--input-shape names {name!r}, which is not a tensor")
        if any(size < 1 for size in shape):
            raise UsageError(
                f"--input-shape {name}: a size in {','.join(map(str, shape))} is not positive",
                "nothing can be measured of a tensor without elements: give every dimension at least 1",
            )
        if not tensor_type.HasField("shape"):
            continue
        dims = tensor_type.shape.dim
        if len(dims) != len(shape):
            raise UsageError(f"--input-shape gives {name!r} {len(shape)} dimensions, the model has {len(dims)}")
        for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
            free = not dim.HasField("dim_value") or dim.dim_value < 0
            if not free and dim.dim_value != size:
                raise UsageError(
                    f"--input-shape gives dimension {axis} of {name!r} as {size}, the model fixes {dim.dim_value}"
                )
            symbol = dim.dim_param or f"{name}[{axis}]"
            if free and settled.setdefault(symbol, size) != size:
                raise UsageError(f"--input-shape gives dimension {symbol!r} as {settled[symbol]} and as {size}")
    return settled
