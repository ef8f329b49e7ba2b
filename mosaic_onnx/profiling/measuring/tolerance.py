"""The verdict on a measured slice's results, by the rules of verification."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement, SliceTrial
from mosaic_onnx.verification.differences import Difference, difference
from mosaic_onnx.verification.marks import find_marks
from mosaic_onnx.verification.reference import Reference
from mosaic_onnx.verification.sensitivity import disturbances, element_types, rounding_floor, rounding_of
from mosaic_onnx.verification.verdicts import judge, precisions_of, tolerance_of

OPTIMISED = "ONNX Runtime's own optimised run is as far off"


def with_verdict(
    measurement: SliceMeasurement, model: SliceModel, trial: SliceTrial, precision: str
) -> SliceMeasurement:
    """Return the measurement with a verdict in ``wrong``, without its differences.

    A difference outside the precision's tolerance is compared with the effect of rounding alone: ONNX Runtime's own
    optimised run of the slice, and runs of the reference that are disturbed by some units in the last place.

    Args:
        measurement: the measurement of the slice.
        model: the slice.
        trial: its inputs and expected outputs.
        precision: the precision of the device.
    """
    precisions = {precision, *precisions_of(model.model)}
    relative, marks = tolerance_of(precisions), find_marks(model.model)
    doubtful = [one for one in measurement.differences if not judge(one, relative, marks, ()).is_good]
    if not doubtful:
        return replace(measurement, differences=())
    amount, types = max(map(rounding_of, precisions)), element_types(model.model.graph)
    try:
        reference = Reference(model.model, model.folder)
    except MosaicError as error:
        return replace(measurement, differences=(), wrong=f"{doubtful[0].tensor}: {doubtful[0]} ({error.message})")
    optimised = cache(lambda: _optimised(model, trial))
    moved = disturbances(model.model, model.folder, reference, trial.inputs, amount, types)
    floor = rounding_floor(trial.inputs, amount)
    checks = (judge(one, relative, marks, [(OPTIMISED, optimised), *moved], floor) for one in doubtful)
    wrong = next((str(check) for check in checks if not check.is_good), "")
    reference.close()
    return replace(measurement, differences=(), wrong=wrong)


def _optimised(model: SliceModel, trial: SliceTrial) -> dict[str, Difference]:
    """Return the differences of ONNX Runtime's optimised run of the slice; empty where it cannot run it."""
    try:
        optimised = Reference(model.model, model.folder, "ONNX Runtime", optimisation="all")
    except MosaicError:
        return {}
    try:
        made = optimised.run(trial.inputs)
    except MosaicError:
        return {}
    finally:
        optimised.close()
    return {name: difference(name, made.get(name), array) for name, array in trial.expected.items()}
