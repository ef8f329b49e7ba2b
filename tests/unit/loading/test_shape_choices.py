from __future__ import annotations

import pytest

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.loading.shape_choices import combinations, only_combination


def test_every_size_of_a_dimension_is_one_set_of_shapes() -> None:
    assert combinations({"x": ((1, 4, 8), 3, 224, 224)}) == (
        {"x": (1, 3, 224, 224)},
        {"x": (4, 3, 224, 224)},
        {"x": (8, 3, 224, 224)},
    )


def test_dimensions_that_offer_the_same_sizes_vary_together_and_others_with_each() -> None:
    made = combinations({"ids": ((1, 2), range(32, 97, 32)), "mask": ((1, 2), (32, 64, 96))})
    assert len(made) == 6
    assert all(each["ids"] == each["mask"] for each in made)


def test_without_a_choice_there_is_one() -> None:
    assert combinations({}) == ({},)
    assert only_combination({"x": (2, 3)}) == {"x": (2, 3)}
    with pytest.raises(UsageError, match="only compile takes those"):
        only_combination({"x": ((1, 2), 3)})


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"x": ((),)}, "is no set"),
        ({"x": ((1, 1),)}, "is no set"),
        ({"x": (range(1, 18),)}, "asks for 17 combinations"),
    ],
)
def test_what_cannot_be_meant_is_refused(choices: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        combinations(choices)
