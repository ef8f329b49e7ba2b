"""Files changed by chance are taken or refused with a word of ours; no other error. See also `make fuzz`."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.files.targets import targets
from tests.in_process import check_in_process

CHECKS_MODELS = "bundle"
"""The target that opens models: slower than the others."""


@pytest.fixture(autouse=True, scope="module")
def _quick() -> object:
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_in_process(monkeypatch)
        yield


@pytest.mark.parametrize("name", targets())
def test_what_the_changes_start_from_is_sound(name: str) -> None:
    target = targets()[name]
    assert [target.read(seed) for seed in target.seeds] == [True] * len(target.seeds)


@pytest.mark.parametrize("name", targets())
def test_a_mutated_file_is_taken_or_refused_with_a_word(name: str) -> None:
    target = targets()[name]
    draw = random.Random(0)
    verdicts = []
    for _ in range(30 if name == CHECKS_MODELS else 120):
        content = draw.choice(target.seeds)
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            content = target.mutate(content, draw)
        verdicts.append(target.read(content))
    assert False in verdicts


@pytest.mark.parametrize("name", [name for name in targets() if name != CHECKS_MODELS])
def test_a_change_that_hypothesis_finds_is_taken_or_refused_with_a_word(name: str) -> None:
    target = targets()[name]

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(target.seeds), st.randoms(use_true_random=False))
    def check(content: bytes, draw: random.Random) -> None:
        assert target.read(target.mutate(content, draw)) in (True, False)

    check()
