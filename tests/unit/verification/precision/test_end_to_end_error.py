from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from mosaic_onnx.backends.base import Array
from mosaic_onnx.verification.precision.end_to_end_error import measure_end_to_end_error
from mosaic_onnx.verification.precision.samples import Sample, Samples


def samples(*outputs: Mapping[str, list[float]]) -> Samples:
    runs = [
        Sample({"n": np.array([number])}, {name: np.array(value, np.float32) for name, value in one.items()})
        for number, one in enumerate(outputs)
    ]
    return Samples(tuple(runs), "made here")


def answering(*outputs: Mapping[str, list[float]]):  # type: ignore[no-untyped-def]
    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = outputs[int(inputs["n"][0])]
        return {name: np.array(value, np.float32) for name, value in found.items()}

    return run


def test_the_error_is_the_largest_over_samples_and_outputs() -> None:
    truth = measure_end_to_end_error(
        answering({"a": [1.0, 4.0], "b": [8.5]}, {"a": [1.0, 4.2], "b": [8.0]}),
        samples({"a": [1.0, 4.0], "b": [8.0]}, {"a": [1.0, 4.0], "b": [8.0]}),
    )
    assert truth.by_output == pytest.approx({"a": 0.05, "b": 0.0625})
    assert truth.error == pytest.approx(0.0625)
    assert truth.agreement is None
    assert truth.sample_count == 2


def test_random_outputs_are_left_out() -> None:
    assert (
        measure_end_to_end_error(answering({"a": [1.0], "b": [9.0]}), samples({"a": [1.0], "b": [1.0]}), {"b"}).error
        == 0.0
    )


@pytest.mark.parametrize("made", [[float("nan"), 1.0], [float("inf"), 1.0], [1.0]])
def test_what_cannot_be_compared_is_infinitely_wrong(made: list[float]) -> None:
    assert measure_end_to_end_error(answering({"a": made}), samples({"a": [1.0, 1.0]})).error == math.inf


def test_agreement_is_the_share_of_vectors_with_the_same_top() -> None:
    truth = measure_end_to_end_error(
        answering({"a": [[1.0, 2.0], [2.0, 1.0]]}, {"a": [[5.0, 1.0], [1.0, 5.0]]}),
        samples({"a": [[1.0, 2.0], [1.0, 2.0]]}, {"a": [[5.0, 1.0], [1.0, 5.0]]}),
    )
    assert truth.agreement == 0.75


def test_trailing_ones_are_no_axes_of_a_vector_and_images_are_no_vectors() -> None:
    def same(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"a": array}

    for shape, agreement in (((1, 4, 1, 1), 1.0), ((4,), 1.0), ((1, 1), None), ((1, 3, 4, 4), None)):
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        assert measure_end_to_end_error(same, Samples((Sample({}, {"a": array}),), "")).agreement == agreement
