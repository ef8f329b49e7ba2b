"""The verdict on a node test: in plain ONNX Runtime, and compiled on the CPU and run from the bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from mosaic_onnx import api
from mosaic_onnx.core.errors import MosaicError
from tests.node_suite.cases import Case, is_close, plain_outputs, plain_session

Plain = Literal["not loaded", "right", "wrong", "fails"]


def plain_verdict(case: Case) -> Plain:
    """Return what ONNX Runtime alone makes of a case."""
    session = plain_session(case.model)
    if session is None:
        return "not loaded"
    try:
        return _judged(plain_outputs(session, case.model, case.inputs), case)
    except Exception:  # ONNX Runtime raises a dozen classes with no common base
        return "fails"


def compiled_verdict(case: Case, folder: Path) -> str:
    """Return what the bundle makes of a case: ``right``, ``wrong``, or ``refused with CODE``.

    Anything but our own errors passes through: it is a bug.
    """
    path = folder / "model.onnx"
    onnx.save(case.model, path)
    try:
        inputs = _inputs_file(case, folder / "inputs.npz")
        bundle = api.compile(path, devices=["cpu"], output=folder / "bundle", cache=False, inputs=inputs)
        made = api.run(bundle, case.inputs).outputs
    except MosaicError as error:
        return f"refused with {error.exit_code}"
    return _judged([made[value.name] for value in case.model.graph.output], case)


def _inputs_file(case: Case, path: Path) -> Path | None:
    """Write the case's inputs where a file can hold them: tensors only."""
    arrays = {name: value for name, value in case.inputs.items() if isinstance(value, np.ndarray)}
    if not arrays or len(arrays) < len(case.inputs):
        return None
    np.savez(path, **{name: _writable(value) for name, value in arrays.items()})
    return path


def _writable(array: np.ndarray) -> np.ndarray:
    """Return what a numpy file holds: strings as unicode, types that numpy lacks as their bit patterns."""
    if array.dtype == object:
        return array.astype(str)
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def verdict(case: Case) -> str:
    """Return how the bundle does beside plain ONNX Runtime.

    Returns:
        ``right``; ``not loaded`` (by ONNX Runtime, so not compiled); ``wrong as in ONNX Runtime``; ``fails as in ONNX
        Runtime``; or, where the bundle does worse, what it does.
    """
    plain = plain_verdict(case)
    if plain == "not loaded":
        return plain
    with tempfile.TemporaryDirectory() as folder:
        compiled = compiled_verdict(case, Path(folder))
    if plain == "wrong" and compiled == "wrong":
        return "wrong as in ONNX Runtime"
    if plain == "fails" and compiled.startswith("refused"):
        return "fails as in ONNX Runtime"
    return compiled


def _judged(made: Sequence[Any], case: Case) -> Literal["right", "wrong"]:
    pairs = zip(made, case.expected, strict=True)
    return "right" if all(is_close(one, other, case) for one, other in pairs) else "wrong"
