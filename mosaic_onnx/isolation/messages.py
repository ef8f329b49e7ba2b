"""The messages between a child and its parent: JSON lines, and tensors in files.

There is no pickle: a child that a provider corrupted may write anything, which its parent must not execute.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.core.devices import Device, Level

Json = Any


def device_to_json(device: Device) -> Json:
    """Return the fields of a device as JSON values, without ``meta``."""
    return dataclasses.asdict(dataclasses.replace(device, meta={}))


def device_from_json(value: Json) -> Device:
    """Return the device of ``device_to_json``'s fields."""
    levels = tuple(Level(**level) for level in value["levels"])
    return Device(**{**value, "levels": levels})


def write_slice(model: SliceModel, path: Path) -> Json:
    """Write a slice's model to ``path`` and return its description; external weights are not copied."""
    path.write_bytes(model.model.SerializeToString())
    return {"path": str(path), "folder": model.folder, "inputs": model.inputs, "outputs": model.outputs} | {
        "is_optimised": model.is_optimised
    }


def read_slice(value: Json) -> SliceModel:
    """Return the slice that ``write_slice`` wrote."""
    model = onnx.load_model_from_string(Path(value["path"]).read_bytes())
    return SliceModel(
        model, value["folder"], tuple(value["inputs"]), tuple(value["outputs"]), bool(value["is_optimised"])
    )


def write_tensors(tensors: Mapping[str, Array], path: Path) -> Json:
    """Write tensors to ``path`` and return the place of each in it; strings are part of the returned value."""
    index: dict[str, Json] = {}
    with path.open("wb") as file:
        for name, tensor in tensors.items():
            array = np.asarray(tensor)
            entry: dict[str, Json] = {"dtype": array.dtype.name, "shape": list(array.shape)}
            if array.dtype.kind in "OUS":
                index[name] = {**entry, "dtype": "object", "strings": [str(each) for each in array.reshape(-1)]}
                continue
            index[name] = {**entry, "offset": file.tell()}
            file.write(np.ascontiguousarray(array).tobytes())
    return {"path": str(path), "index": index}


def read_tensors(value: Json) -> dict[str, Array]:
    """Return the tensors that ``write_tensors`` wrote."""
    content = Path(value["path"]).read_bytes()
    return {name: _tensor(content, entry) for name, entry in value["index"].items()}


def _tensor(content: bytes, entry: Json) -> Array:
    shape = tuple(entry["shape"])
    if "strings" in entry:
        return np.array(entry["strings"], dtype=object).reshape(shape)
    dtype, count = dtype_of(entry["dtype"]), int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(content, dtype, count, entry["offset"]).reshape(shape).copy()


def dtype_of(name: str) -> np.dtype[np.generic]:
    """Return a type by its name; bfloat16, float8 and the 4-bit types come from ml_dtypes."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        dtype: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
        return dtype
