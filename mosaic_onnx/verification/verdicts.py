"""Verdicts on differences: tolerances by precision and quantisation, and the search for an explanation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from mosaic_onnx.verification.differences import Difference
from mosaic_onnx.verification.marks import Marks
from mosaic_onnx.verification.report import TensorCheck
from mosaic_onnx.verification.sensitivity import Moved, explains

TOLERANCES = {"f64": 1e-4, "f32": 1e-4, "f16": 1e-2, "bf16": 2e-2}
"""Largest error relative to the largest value, by precision."""
QUANTISATION_STEP = 1 / 127
"""One step of an 8-bit tensor, relative to its largest value: for tensors that come after quantisation."""
SMALLEST_NORMAL = 2.0**-126
"""The smallest normal float32; a device may treat smaller numbers as zero."""
ROUNDING_NEAR_ONE = 2.0**-23
"""The step between float32 numbers just above 1."""
_MODEL_PRECISION = {TensorProto.FLOAT16: "f16", TensorProto.BFLOAT16: "bf16"}


@dataclass(frozen=True)
class Allowance:
    """The error that a tensor may have.

    Attributes:
        relative: share of its largest value.
        absolute: a quantisation step where its size is known.
        why: the reason, in words.
    """

    relative: float
    absolute: float
    why: str


def precisions_of(model: onnx.ModelProto) -> set[str]:
    """Return the half precisions that the model itself computes in."""
    graph = model.graph
    types = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    return {_MODEL_PRECISION[each] for each in types if each in _MODEL_PRECISION}


def tolerance_of(precisions: Iterable[str]) -> float:
    """Return the loosest of several precisions' tolerances; an unknown one (int8) is allowed a quantisation step."""
    return max((TOLERANCES.get(each, QUANTISATION_STEP) for each in precisions), default=TOLERANCES["f32"])


def allowance(found: Difference, relative: float, marks: Marks) -> Allowance:
    """Return the error allowed for one tensor: the tolerance, and one step where it depends on quantisation."""
    step = marks.steps.get(found.tensor)
    if step is not None:
        room = 0.0 if found.is_discrete else relative
        return Allowance(room, step * (1 + 1e-5), f"one quantisation step of {step:.3g}")
    if found.is_discrete:
        return Allowance(0.0, 0.0, "must be equal")
    if found.tensor in marks.quantised and relative < QUANTISATION_STEP:
        return Allowance(QUANTISATION_STEP, SMALLEST_NORMAL, "one quantisation step of its largest value")
    if found.tensor in marks.bounded:
        return Allowance(relative, ROUNDING_NEAR_ONE, f"tolerance {relative:g}, and the rounding of a value near 1")
    return Allowance(relative, SMALLEST_NORMAL, f"tolerance {relative:g}")


def judge(
    found: Difference, relative: float, marks: Marks, sources: Iterable[tuple[str, Moved]], floor: float = 0.0
) -> TensorCheck:
    """Return the verdict on one tensor.

    Args:
        found: the difference.
        relative: the precision's tolerance.
        marks: of the graph that the tensor is in.
        sources: (words, differences by rounding alone), tried in turn until one explains the error.
        floor: error that rounding its operands may leave where the reference is all zero.
    """
    if (operators := marks.random.get(found.tensor)) is not None:
        return _random(found, operators)
    if found.is_equal:
        return TensorCheck(found.tensor, "equal", found)
    allowed = allowance(found, relative, marks)
    if found.is_within(allowed.relative, allowed.absolute):
        return TensorCheck(found.tensor, "within", found, allowed.why)
    if not found.is_discrete and found.scale == 0 and found.is_within(0.0, floor):
        note = f"the reference is all zero, and {found.max_absolute:.2g} is below the rounding of what it is made from"
        return TensorCheck(found.tensor, "explained", found, note)
    for words, moved_by in sources:
        moved = moved_by().get(found.tensor)
        if explains(moved, found):
            return TensorCheck(found.tensor, "explained", found, f"{words}: {moved}")
    return TensorCheck(found.tensor, "failed", found, allowed.why)


def within_budget(found: Difference, budget: float, random: Iterable[str] = ()) -> TensorCheck:
    """Return the verdict on an output under an error budget, which no explanation extends.

    Args:
        found: the difference.
        budget: share of its largest value.
        random: operators that draw random numbers before it.
    """
    if operators := tuple(random):
        return _random(found, operators)
    if found.is_equal:
        return TensorCheck(found.tensor, "equal", found)
    good = found.is_within(budget)
    return TensorCheck(found.tensor, "within" if good else "failed", found, f"error budget {budget:g}")


def _random(found: Difference, operators: Iterable[str]) -> TensorCheck:
    note = f"random: comes after {', '.join(operators)}"
    return TensorCheck(found.tensor, "failed" if found.problem else "random", found, note)


def judge_cut(found: Difference, marks: Marks) -> TensorCheck:
    """Return the verdict on a tensor that must be bit-identical."""
    if (operators := marks.random.get(found.tensor)) is not None:
        return _random(found, operators)
    return TensorCheck(found.tensor, "equal" if found.is_equal else "failed", found)
