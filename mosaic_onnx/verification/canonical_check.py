"""The partitioned file against the model that it was made from, both whole in one runtime."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.rewriting.rewrite import Canonical
from mosaic_onnx.verification.differences import Difference, difference
from mosaic_onnx.verification.marks import find_marks
from mosaic_onnx.verification.reference import Reference
from mosaic_onnx.verification.report import TensorCheck
from mosaic_onnx.verification.verdicts import judge_cut


def check_canonical(
    canonical: Canonical | None,
    model: onnx.ModelProto,
    reference: Reference,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
) -> tuple[TensorCheck, ...]:
    """Run the partitioned file as the reference runs the model: the outputs must be equal bit for bit.

    Args:
        canonical: the file; None where there is none.
        model: the uncut model, normalised.
        reference: runs it.
        inputs: the model's inputs.
        expected: the reference's outputs for them.

    Returns:
        A check for each output; none where there is no file, or it is known that ONNX Runtime refuses it.
    """
    if canonical is None or canonical.refusal is not None:
        return ()
    reference.close()  # one session of the whole model at a time
    try:
        partitioned = Reference(canonical.model, canonical.folder, reference.runtime)
        try:
            made = partitioned.run(inputs)
        finally:
            partitioned.close()
    except MosaicError as error:
        lost = [Difference(name, problem=f"it does not run: {error.message}") for name in expected]
        return tuple(TensorCheck(each.tensor, "failed", each) for each in lost)
    marks = find_marks(model)
    return tuple(judge_cut(difference(name, made.get(name), array), marks) for name, array in expected.items())
