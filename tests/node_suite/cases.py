"""The onnx package's node tests, generated at run time: a small model each, its inputs and the outputs expected."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

_BUILT_IN_KINDS = "biufc"


@dataclass(frozen=True)
class Case:
    """One node test.

    Attributes:
        name: the onnx package's.
        model: the model; usually of one node, or the node's function body unfolded.
        inputs: by name: arrays, lists of arrays (sequences), None (an empty optional).
        expected: in the order of the model's outputs.
        rtol: relative tolerance of the expected outputs.
        atol: absolute tolerance of the same.
    """

    name: str
    model: onnx.ModelProto
    inputs: Mapping[str, Any]
    expected: Sequence[Any]
    rtol: float
    atol: float


@cache
def all_cases() -> tuple[Case, ...]:
    """Return every node test that brings a model and data, in the onnx package's order."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators overflow on purpose
        found = collect_testcases(None)
    return tuple(_case(one) for one in found if one.model is not None and one.data_sets)


def _case(test: Any) -> Case:
    inputs, expected = test.data_sets[0]
    names = [value.name for value in test.model.graph.input]
    feed = {name: as_value(each) for name, each in zip(names, inputs, strict=True)}
    return Case(test.name, test.model, feed, [as_value(each) for each in expected], test.rtol, test.atol)


def as_value(given: Any) -> Any:
    """Return what the generators give (arrays, scalars, messages, lists) as arrays and lists of arrays."""
    if given is None:
        return None
    if isinstance(given, list):
        return [as_value(each) for each in given]
    if isinstance(given, TensorProto):
        return numpy_helper.to_array(given)
    return np.asarray(given)


def plain_session(model: onnx.ModelProto) -> ort.InferenceSession | None:
    """Load a model in ONNX Runtime's CPU provider as it is by default; None where it refuses it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime raises a dozen classes with no common base
        return None


def plain_outputs(session: ort.InferenceSession, model: onnx.ModelProto, inputs: Mapping[str, Any]) -> list[Any]:
    """Run a session on arrays of any element type; outputs of types that numpy lacks come as ml_dtypes arrays."""
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    read = {value.name for value in session.get_inputs()}
    feed = {name: _ort_value(value, types[name]) for name, value in inputs.items() if name in read}
    if all(isinstance(value, np.ndarray | list) or value is None for value in feed.values()):
        return list(session.run(None, feed))
    values = {
        name: value if isinstance(value, ort.OrtValue) else ort.OrtValue.ortvalue_from_numpy(value)
        for name, value in feed.items()
    }
    return [value.numpy() for value in session.run_with_ort_values(None, values)]


def _ort_value(value: Any, element_type: int) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind in "OSU" or value.dtype.isbuiltin == 1:
        return value.astype(object) if isinstance(value, np.ndarray) and value.dtype.kind in "SU" else value
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(value), element_type)


def is_close(made: Any, expected: Any, case: Case) -> bool:
    """Compare as the onnx package's runner does: type, shape, values within the case's tolerances."""
    if expected is None or made is None:
        return made is expected
    if isinstance(expected, list):
        return len(made) == len(expected) and all(map(lambda *pair: is_close(*pair, case), made, expected))
    made, expected = np.asarray(made), np.asarray(expected)
    if made.shape != expected.shape:
        return False
    if expected.dtype.kind in "OSU":
        return bool(np.array_equal(made.astype(str), expected.astype(str)))
    if made.dtype != expected.dtype:
        return False
    if expected.dtype.kind not in _BUILT_IN_KINDS or expected.dtype.isbuiltin != 1:
        made, expected = made.astype(np.float64), expected.astype(np.float64)
    return bool(np.allclose(made, expected, rtol=case.rtol, atol=case.atol, equal_nan=True))
