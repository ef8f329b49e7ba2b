from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.verification.precision.samples import DRAWN_COUNT, gather_samples, read_samples
from tests.unit.verification.precision.rough import chain_model

MODEL = chain_model()


def stored(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "samples.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("shape", [(5, 1, 16), (5, 16)])
def test_samples_lie_along_the_first_axis_or_make_up_the_batch(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = np.arange(80, dtype=np.float32).reshape(shape)
    found = read_samples(stored(tmp_path, x=rows), MODEL)
    assert [one["x"].shape for one in found] == [(1, 16)] * 5
    assert np.array_equal(np.concatenate([one["x"] for one in found]).ravel(), rows.ravel())


def test_one_input_is_one_sample(tmp_path: Path) -> None:
    assert len(read_samples(stored(tmp_path, x=np.zeros((1, 16), np.float32)), MODEL)) == 1


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((3, 17), np.float32)}, r"input x has shape \[3, 17\]"),
        ({"x": np.zeros((0, 16), np.float32)}, "one at least"),
        ({"x": np.zeros((3, 16), np.float64)}, "float64, not float32"),
        ({"z": np.zeros((3, 16), np.float32)}, "x is missing"),
    ],
)
def test_what_is_no_row_of_samples_is_refused_by_name(
    tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        read_samples(stored(tmp_path, **arrays), MODEL)


def test_the_origin_says_that_samples_were_drawn() -> None:
    samples = gather_samples(MODEL, None, make_inputs(MODEL, 3), seed=3)
    assert "drawn" in samples.origin
    assert "seeds 3 to" in samples.origin
    assert 1 <= len(samples.runs) <= DRAWN_COUNT
    assert np.array_equal(samples.runs[0].inputs["x"], make_inputs(MODEL, 3)["x"])
    assert not np.array_equal(samples.runs[0].inputs["x"], samples.runs[1].inputs["x"])


def test_the_origin_names_the_file_and_the_inputs_come_along(tmp_path: Path) -> None:
    path, inputs = stored(tmp_path, x=np.ones((2, 16), np.float32)), make_inputs(MODEL)
    alone = gather_samples(MODEL, None, inputs, file=path)
    assert (alone.origin, len(alone.runs)) == ("2 of samples.npz", 2)
    both = gather_samples(MODEL, None, inputs, file=path, inputs_file=Path("in.npz"))
    assert (both.origin, len(both.runs)) == ("2 of samples.npz and the inputs of in.npz", 3)
    given = gather_samples(MODEL, None, inputs, inputs_file=Path("in.npz"))
    assert (given.origin, len(given.runs)) == ("the inputs of in.npz", 1)
