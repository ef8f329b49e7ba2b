"""Text from files on its way to a terminal."""

from __future__ import annotations

import pytest

from mosaic_onnx.core.text.terminal import brief, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv_1/Relu: 3 µs\n\tdone …", "conv_1/Relu: 3 µs\n\tdone …"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("over\rwritten\x00", r"over\rwritten\x00"),
        ("\x9b31m", r"\x9b31m"),
        ("exe\u202etxt", r"exe\u202etxt"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_obeys_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_word_of_a_megabyte_is_shown_by_its_ends() -> None:
    shown = brief(f"name {'a' * 10**6}b is unknown")
    assert shown.startswith("name aaa")
    assert shown.endswith("ab is unknown")
    assert len(shown) < 300


def test_words_of_usual_length_stay_whole() -> None:
    path = "/".join(["folder"] * 30)
    assert brief(f"{path} is missing") == f"{path} is missing"
