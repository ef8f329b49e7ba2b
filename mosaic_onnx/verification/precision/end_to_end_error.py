"""The error of a whole run against the original model, over all samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.verification.differences import difference
from mosaic_onnx.verification.precision.samples import Samples

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class EndToEndError:
    """The error of whole runs.

    Attributes:
        error: the largest over samples and outputs of max|a − b| / max|b|; inf where a shape, a type, a NaN or an
            infinity differs.
        by_output: the same by output.
        agreement: share of the vectors of the only output whose largest entry is at the same index (top-1); None
            where there is more than one output, or it is not a vector.
        sample_count: number of samples.
    """

    error: float
    by_output: Mapping[str, float] = field(default_factory=dict)
    agreement: float | None = None
    sample_count: int = 0


def measure_end_to_end_error(run: Run, samples: Samples, left_out: Collection[str] = ()) -> EndToEndError:
    """Run every sample and return the error against the original model.

    Args:
        run: runs the model that is measured.
        samples: inputs and expected outputs.
        left_out: outputs that cannot be compared, being random.

    Raises:
        BackendError: a run failed.
    """
    worst: dict[str, float] = {}
    agreeing: list[bool] = []
    for sample in samples.runs:
        made = run(sample.inputs)
        for name, expected in sample.outputs.items():
            if name not in left_out:
                worst[name] = max(worst.get(name, 0.0), relative_error(made.get(name), expected))
        agreeing += _same_top(made, sample.outputs)
    agreement = sum(agreeing) / len(agreeing) if agreeing and not left_out else None
    return EndToEndError(max(worst.values(), default=0.0), worst, agreement, len(samples.runs))


def relative_error(made: Array | None, expected: Array) -> float:
    """Return max|a − b| / max|b|; inf where the two cannot be compared so."""
    found = difference("", made, expected)
    return math.inf if found.problem or found.non_finite_count else found.relative


def _same_top(made: Mapping[str, Array], expected: Mapping[str, Array]) -> list[bool]:
    """Return, for each vector, whether its largest entry is at the same index; empty for other outputs."""
    if len(expected) != 1:
        return []
    [(name, array)] = expected.items()
    right, other = _vectors(array), _vectors(np.asarray(made.get(name)))
    if right is None or other is None or right.shape != other.shape:
        return []
    return [bool(same) for same in right.argmax(axis=1) == other.argmax(axis=1)]


def _vectors(array: Array) -> Array | None:
    """Return [N, C] with C > 1, trailing ones left out; None where the array has another form or type."""
    shape = list(array.shape)
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    if array.dtype.kind != "f" or not 1 <= len(shape) <= 2 or shape[-1] < 2:
        return None
    return array.reshape(-1, shape[-1])
