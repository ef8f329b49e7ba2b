"""Inputs for a model: drawn from a seed within the ranges that the model allows, or read from a file and checked.

Files are ``.npz`` (one array an input, by name) or ``.npy`` (for a model of one input); pickled objects are refused.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mosaic_onnx.core.errors import InfeasibleError, ModelError
from mosaic_onnx.core.text.quantities import bytes_text
from mosaic_onnx.loading.ranges.trace import input_ranges
from mosaic_onnx.loading.ranges.value_range import Range

Array = NDArray[np.generic]
_WORDS = ("alpha", "beta", "gamma", "delta")
_SMALL: dict[int, tuple[int, int]] = {
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT2: (-2, 1),
    TensorProto.UINT2: (0, 3),
}
MOST_UNFOLDED_BYTES = 1 << 30
MOST_UNFOLDED_FACTOR = 50
"""An archive that unfolds to more than both is refused: real inputs do not compress so well."""
_SPREAD = 8
"""An unlimited integer is drawn from -8…8: safe where the analysis missed a use of it."""
_HINTS = (
    ("temperature", Range(0.5, 1.5)), ("penalty", Range(0.5, 1.5)), ("scale", Range(0.01, 0.1)),
    ("top_p", Range(0.5, 0.9)), ("min_p", Range(0.05, 0.2)), ("prob", Range(0.1, 0.9)),
)  # fmt: skip
"""Words in an input's name that tell the range of a float, where the graph itself sets no limit."""


def model_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that a caller must give: those with no initialiser of their name."""
    given = {tensor.name for tensor in model.graph.initializer}
    given |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in given]


_KINDS = {
    "sequence_type": "a sequence",
    "optional_type": "an optional value",
    "map_type": "a map",
    "sparse_tensor_type": "a sparse tensor",
    "opaque_type": "an opaque value",
}


def refuse_other_than_tensors(model: onnx.ModelProto) -> None:
    """Refuse a model that takes or returns sequences, optional values or maps; inside a model they are fine.

    Raises:
        InfeasibleError: names the value.
    """
    values = [("input", value) for value in model_inputs(model)] + [("output", value) for value in model.graph.output]
    for word, value in values:
        kind = value.type.WhichOneof("value") or "tensor_type"
        if kind != "tensor_type":
            raise InfeasibleError(
                f"{word} {value.name} is {_KINDS[kind]}: devices take and return tensors only",
                "let the model make it from tensors, or tensors from it (SequenceConstruct, ConcatFromSequence, "
                "OptionalGetElement)",
            )


def make_inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Return random inputs that the model can run with; the same seed gives the same values, input by input.

    Integers lie within the ranges of the operators that index or size by them, masks are all ones, floats are standard
    normal where no operator limits their domain.

    Args:
        model: shapes of its inputs fixed (``loading.normalise``), topologically sorted.
        seed: any integer ≥ 0.

    Raises:
        ModelError: an input has no fixed shape, or is not a tensor.
    """
    ranges = input_ranges(model)
    return {
        value.name: _draw(value.name, _element_type(value), fixed_shape(value), ranges.get(value.name, Range()), seed)
        for value in model_inputs(model)
    }


def fixed_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return the concrete shape of a model's input.

    Raises:
        ModelError: a dimension is free.
    """
    dims = value.type.tensor_type.shape.dim
    if not value.type.tensor_type.HasField("shape") or any(
        not dim.HasField("dim_value") or dim.dim_value < 0 for dim in dims
    ):
        raise ModelError(
            f"input {value.name} has no fixed shape, so no values can be made for it",
            f"give one: --input-shape {value.name}:1,3,224,224",
        )
    return tuple(dim.dim_value for dim in dims)


def _element_type(value: onnx.ValueInfoProto) -> int:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value") or "untyped value"
        raise ModelError(
            f"input {value.name} is a {kind.removesuffix('_type')}, not a tensor", "give the model tensors only"
        )
    return value.type.tensor_type.elem_type


def _draw(name: str, element_type: int, shape: tuple[int, ...], allowed: Range, seed: int) -> Array:
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if element_type == TensorProto.STRING:
        return random.choice(np.array(_WORDS, dtype=object), shape)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(element_type))
    is_mask = "mask" in name.lower()
    if element_type == TensorProto.BOOL:
        return np.ones(shape, bool) if is_mask else random.integers(0, 2, shape).astype(bool)
    if is_mask and not allowed.domain and allowed.low <= 1 <= allowed.high:
        return np.ones(shape, dtype)
    if element_type in _SMALL or dtype.kind in "iu":
        return _integers(random, element_type, dtype, shape, allowed).astype(dtype)
    if dtype.kind == "c":
        return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(dtype)
    return np.asarray(_floats(random, name.lower(), shape, allowed)).astype(dtype)


def _integers(
    random: np.random.Generator, element_type: int, dtype: np.dtype[np.generic], shape: tuple[int, ...], allowed: Range
) -> NDArray[np.int64] | NDArray[np.uint64]:
    if allowed.choices and not allowed.is_limited and math.prod(shape) == 1:
        return np.full(shape, int(allowed.choices[0]), np.int64)
    least, most = _SMALL.get(element_type) or _ends_of(dtype)
    low = math.ceil(allowed.low) if math.isfinite(allowed.low) else None
    high = math.floor(allowed.high) if math.isfinite(allowed.high) else None
    spread = most if dtype.itemsize == 1 else _SPREAD
    if low is None:
        low = max(least, -spread - 1 if dtype.itemsize == 1 else -spread) if high is None else min(0, high)
    if high is None:
        high = max(low, min(low + _SPREAD, most)) if math.isfinite(allowed.low) else spread
    low, high = max(low, least), min(high, most)
    return random.integers(low, max(low, high), shape, endpoint=True)


def _ends_of(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    limits = np.iinfo(dtype)  # type: ignore[type-var]  # integers only
    return int(limits.min), int(limits.max)


def _floats(random: np.random.Generator, name: str, shape: tuple[int, ...], allowed: Range) -> NDArray[np.float64]:
    if not allowed.is_bounded:
        allowed = allowed.meet(next((hint for word, hint in _HINTS if word in name), Range()))
    if allowed.is_bounded:
        return random.uniform(allowed.low, allowed.high, shape)
    drawn = random.standard_normal(shape)
    if math.isfinite(allowed.low):
        return np.asarray(allowed.low + np.abs(drawn))
    if math.isfinite(allowed.high):
        return np.asarray(allowed.high - np.abs(drawn))
    return np.asarray(drawn)


def read_inputs(path: Path, model: onnx.ModelProto) -> dict[str, Array]:
    """Return the inputs from a ``.npz`` or ``.npy`` file, checked against the model.

    Raises:
        ModelError: the file cannot be read or holds pickled objects, or its arrays are not the model's inputs.
    """
    expected = model_inputs(model)
    arrays = read_arrays(path)
    if set(arrays) == {""}:
        if len(expected) != 1:
            raise ModelError(
                f"{path} holds one array, but the model has {len(expected)} inputs",
                f"save a .npz with arrays named {', '.join(value.name for value in expected)}",
            )
        arrays = {expected[0].name: arrays[""]}
    return check_inputs(arrays, model, str(path))


def shapes_of_free(arrays: Mapping[str, Array], model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes that given arrays have where the model leaves dimensions free.

    Args:
        arrays: by input name; the array of the empty name is that of the only input.
        model: as its file has it, its shapes still free.
    """
    inputs = model_inputs(model)
    found = {}
    for value in inputs:
        array = arrays.get(value.name, arrays.get("") if len(inputs) == 1 else None)
        dims = value.type.tensor_type.shape.dim
        is_free = any(not dim.HasField("dim_value") or dim.dim_value < 0 for dim in dims)
        if array is not None and is_free and len(dims) == array.ndim:
            found[value.name] = array.shape
    return found


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays by name; the array of a ``.npy`` file has the empty name."""
    try:
        _refuse_unusual(path)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
            if strange := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
                raise ValueError(f"its member {strange[0]} is not an array")
            return arrays
    except FileNotFoundError:
        raise ModelError(f"no such inputs file: {path}") from None
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(
            f"{path} is not a readable .npy or .npz file: {error}", "save it with numpy.savez, without object arrays"
        ) from error


def _refuse_unusual(path: Path) -> None:
    """Refuse what would be waited for (a pipe), or unfolds to far more than it is on the disk.

    Raises:
        ValueError: the path is no regular file, or the archive unfolds too far.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unfolded_bytes = sum(member.file_size for member in archive.infolist())
    if unfolded_bytes > max(MOST_UNFOLDED_BYTES, MOST_UNFOLDED_FACTOR * path.stat().st_size):
        words = f"it unfolds to {bytes_text(unfolded_bytes)}, more than {MOST_UNFOLDED_FACTOR} times its size"
        raise ValueError(f"{words}: save such arrays without compression")


def check_inputs(arrays: Mapping[str, Array], model: onnx.ModelProto, source: str = "inputs") -> dict[str, Array]:
    """Return the arrays if they fit the model's inputs; floats of 16 bits or fewer may come as raw integers.

    Raises:
        ModelError: naming every input that is missing, unknown, of another type or of another shape.
    """
    expected = {value.name: value for value in model_inputs(model)}
    faults = [f"{name} is missing" for name in expected if name not in arrays]
    faults += [f"{name} is not an input of the model" for name in arrays if name not in expected]
    checked = {}
    for name, value in expected.items():
        if name in arrays:
            checked[name] = _as_element_type(arrays[name], _element_type(value))
            faults += _faults_of(name, checked[name], value)
    if faults:
        wanted = ", ".join(f"{name} {_described(value)}" for name, value in expected.items())
        raise ModelError(f"{source}: {'; '.join(faults)}", f"the model takes {wanted or 'no inputs'}")
    return checked


def _as_element_type(array: Array, element_type: int) -> Array:
    """Return an array as the model's type: bit patterns as bfloat16, float8 or int4, bytes and unicode as strings."""
    if element_type == TensorProto.STRING:
        return array.astype(object) if array.dtype.kind in "US" else array
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(element_type))
    if dtype.isbuiltin == 2 and array.dtype.kind in "uV" and array.dtype.itemsize == dtype.itemsize:
        return array.view(dtype)
    return array


def _faults_of(name: str, array: Array, value: onnx.ValueInfoProto) -> list[str]:
    faults = []
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(_element_type(value)))
    if array.dtype != dtype:
        faults.append(f"{name} is {array.dtype}, not {dtype}")
    tensor = value.type.tensor_type
    if tensor.HasField("shape"):
        dims = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in tensor.shape.dim]
        fits = len(dims) == array.ndim and all(
            dim is None or dim == size for dim, size in zip(dims, array.shape, strict=True)
        )
        if not fits:
            faults.append(f"{name} has shape {list(array.shape)}, not {_described(value).partition(' ')[2]}")
    return faults


def _described(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    dims = [str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
    return f"{'string' if dtype.kind == 'O' else dtype} [{', '.join(dims)}]"
