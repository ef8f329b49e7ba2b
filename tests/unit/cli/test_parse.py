"""The words of the command line."""

from __future__ import annotations

import pytest

from mosaic_onnx.cli.parse import parse_bytes, parse_caps, parse_rules, parse_shapes, split_words
from mosaic_onnx.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GiB", 4 * 2**30), ("100MB", 100_000_000), ("1.5kb", 1500), ("7", 7), (" 2 MiB ", 2 * 2**20)],
)
def test_an_amount_of_memory_is_read_in_its_unit(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "4XB", "-1MB", "GiB", "1e3"])
def test_what_is_no_amount_of_memory_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="is not an amount of memory"):
        parse_bytes(text)


def test_caps_name_a_device_each() -> None:
    assert parse_caps(["gpu0=1GB", "npu=5MB"], "--memory") == {"gpu0": 10**9, "npu": 5 * 10**6}
    with pytest.raises(UsageError, match="names gpu0 twice"):
        parse_caps(["gpu0=1GB", "gpu0=2GB"], "--memory")
    with pytest.raises(UsageError, match="does not name a device"):
        parse_caps(["1GB"], "--memory")


def test_a_shape_belongs_to_the_name_before_the_last_colon() -> None:
    assert parse_shapes(["serving:0:1,3", "s:"]) == {"serving:0": (1, 3), "s": ()}
    for wrong in ("x", "x:1,-3", ":1", "x:1,,2"):
        with pytest.raises(UsageError, match="is not a shape"):
            parse_shapes([wrong])


def test_a_rule_is_a_pattern_and_a_device_after_the_last_equals_sign() -> None:
    assert parse_rules(["a=b=gpu"], "--pin") == (("a=b", "gpu"),)
    with pytest.raises(UsageError, match="not a regular expression"):
        parse_rules(["(=gpu"], "--pin")
    with pytest.raises(UsageError, match="is not a rule"):
        parse_rules(["gpu"], "--pin")


def test_repeated_and_comma_separated_words_are_one_list() -> None:
    assert split_words(["cpu,openvino", "cpu", " qnn "]) == ("cpu", "openvino", "qnn")
