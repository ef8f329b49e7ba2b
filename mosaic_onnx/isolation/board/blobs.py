"""Requests to a child on another machine: files travel by content, each once; arrays of a run travel in the message.

A request is a line of JSON: the request with the name of a blob in place of each file, and the size of each blob. The
child answers with the names that it does not have yet; their bytes follow, and then the child's answer comes. A blob is
named by its SHA-256, and the child keeps it as a file of that name while it lives.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.isolation.messages import dtype_of

Json = Any
FILE_KEYS = ("slice", "inputs", "expected", "nodes")
"""Entries of a request that name a file under ``path``."""


def packed(request: Mapping[str, Json]) -> tuple[bytes, dict[str, bytes]]:
    """Return the line for a request, and its blobs by name."""
    blobs: dict[str, bytes] = {}
    sent = dict(request)
    for key in FILE_KEYS:
        if key in sent:
            content = Path(sent[key]["path"]).read_bytes()
            name = hashlib.sha256(content).hexdigest()
            blobs[name] = content
            sent[key] = {**sent[key], "path": name}
    sizes = {name: len(content) for name, content in blobs.items()}
    return json.dumps({"request": sent, "blobs": sizes}).encode() + b"\n", blobs


def receive(line: bytes, stream: BinaryIO, answers: BinaryIO, folder: Path) -> dict[str, Json]:
    """Return the request of a line, its files fetched into a folder.

    Args:
        line: what ``packed`` made.
        stream: where the blobs follow.
        answers: where to ask for them.
        folder: where they are kept.

    Raises:
        ValueError: the line is not a request, or a blob is not what its name says.
        EOFError: the stream ended inside a blob.
    """
    message = json.loads(line)
    missing = [name for name in message["blobs"] if not (folder / name).exists()]
    answers.write(json.dumps({"missing": missing}).encode() + b"\n")
    answers.flush()
    for name in missing:
        content = stream.read(message["blobs"][name])
        if len(content) < message["blobs"][name]:
            raise EOFError("the connection ended inside a file")
        if hashlib.sha256(content).hexdigest() != name:
            raise ValueError("a file was changed on its way")
        (folder / name).write_bytes(content)
    request: dict[str, Json] = dict(message["request"])
    for key in FILE_KEYS:
        if key in request:
            request[key] = {**request[key], "path": str(folder / request[key]["path"]), "folder": None}
    return request


def arrays_to_json(arrays: Mapping[str, Array]) -> Json:
    """Return arrays as JSON values."""
    return {name: _array_to_json(np.asarray(array)) for name, array in arrays.items()}


def _array_to_json(array: Array) -> Json:
    if array.dtype.kind in "OUS":
        return {"dtype": "object", "shape": list(array.shape), "strings": [str(each) for each in array.reshape(-1)]}
    content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "content": content}


def arrays_from_json(value: Json) -> dict[str, Array]:
    """Return the arrays of ``arrays_to_json``."""
    return {name: _array_from_json(entry) for name, entry in value.items()}


def _array_from_json(entry: Json) -> Array:
    shape = tuple(entry["shape"])
    if "strings" in entry:
        return np.array(entry["strings"], dtype=object).reshape(shape)
    content = base64.b64decode(entry["content"])
    return np.frombuffer(content, dtype_of(entry["dtype"])).reshape(shape).copy()
