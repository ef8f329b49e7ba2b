"""The estimate of the time left, and the lines that show it."""

from __future__ import annotations

import random

import pytest

from mosaic_onnx.cli.terminal.progress import COMPILE_STAGES, PlainLines, expected, words_of
from mosaic_onnx.cli.terminal.remaining import Remaining
from mosaic_onnx.core.progress import Step


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def estimates(true_s: dict[str, float], counted: str = "profile") -> list[tuple[float, float]]:
    """[time] (seconds truly left, seconds estimated), as a compilation goes on whose passes take so long."""
    clock = Clock()
    remaining = Remaining(expected(COMPILE_STAGES), clock)
    total_s = sum(true_s.values())
    found = []
    for stage, seconds in true_s.items():
        remaining.tell(Step(stage))
        for number in range(20):
            found.append((total_s - clock.now_s, remaining.left_s))
            clock.now_s += seconds / 20
            if stage == counted:
                remaining.tell(Step(stage, "cpu", number + 1, 20))
    return found


@pytest.mark.parametrize("pace", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_from_a_fifth_on_the_estimate_is_nearly_always_within_a_factor_of_two(pace: float, seed: int) -> None:
    drawn = random.Random(seed)
    true_s = {name: pace * seconds * drawn.uniform(0.7, 1.4) for name, seconds in expected(COMPILE_STAGES).items()}
    total_s = sum(true_s.values())
    late = [(left_s, guess_s) for left_s, guess_s in estimates(true_s) if left_s < 0.8 * total_s and left_s > 1.0]
    good_count = sum(left_s / 2 <= guess_s <= left_s * 2 for left_s, guess_s in late)
    assert good_count >= 0.85 * len(late) > 0


def test_a_pass_inside_another_one_does_not_end_it() -> None:
    remaining = Remaining(expected(COMPILE_STAGES), Clock())
    for stage in ("profile", "feedback", "plan", "measure_slices", "plan", "profile"):
        remaining.tell(Step(stage))
    assert remaining.stage == "feedback"


def test_a_step_is_told_by_its_stage_counts_and_device() -> None:
    assert words_of(Step("profile", "cpu", 12, 57)) == "measuring layers 12/57 on cpu"
    assert words_of(Step("verify")) == "proving"


def test_off_a_terminal_a_line_comes_at_each_stage_and_every_few_seconds() -> None:
    clock, lines = Clock(), list[str]()
    plain = PlainLines(Remaining(expected(COMPILE_STAGES), clock), lines.append, clock)
    plain(Step("load"))
    for number in range(100):
        clock.now_s += 0.1
        plain(Step("profile", "cpu", number + 1, 100))
    assert lines[0].startswith("checking, about ")
    assert 4 <= len(lines) <= 6
    assert all(line.startswith("measuring layers ") for line in lines[1:])
