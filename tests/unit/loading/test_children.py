"""Children end at their limits, and what they say is never mixed with what libraries print."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from onnx import parser

from mosaic_onnx.core.process.process_clock import PATIENCE
from mosaic_onnx.loading import children
from mosaic_onnx.loading.children import ChildFailure, run_child

ENDLESS = (
    '<ir_version: 10, opset_import: ["" : 21]> g (float[n] x) => (float[m] y) <int64 n = {9000000000000000000}, '
    "bool c = {1}> { y = Loop(n, c, x) <body = b (int64 i, bool go, float[k] a) => (bool on, float[k] o) "
    "{ on = Identity(go)  o = Relu(a) }> }"
)


def request(folder: Path, text: str, *, may_run: bool = True) -> dict[str, object]:
    path = folder / "model.onnx"
    path.write_bytes(parser.parse_model(text).SerializeToString())
    words: dict[str, object] = {"path": str(path), "target": str(folder / "values"), "may_run": may_run}
    return words | {"shapes": {}, "symbols": {"n": 2}}


def test_a_child_that_hangs_is_ended_at_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "WORD_EVERY_S", 1.0)
    started_s = time.monotonic()
    with pytest.raises(ChildFailure, match="time: not done after 3 s"):
        run_child("types", request(tmp_path, ENDLESS), 3.0, 4 * 2**30)
    assert time.monotonic() - started_s < PATIENCE * 3.0 + 10
    assert "waiting for the types and shapes of a model" in caplog.text


def test_a_child_without_memory_says_so(tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    with pytest.raises(ChildFailure, match=r"memory|crash"):
        run_child("types", request(tmp_path, text), 20.0, 2**24)


def test_an_unknown_job_is_a_crash_with_its_last_word() -> None:
    with pytest.raises(ChildFailure, match=r"crash: exit status 1: KeyError: 'nonsense'"):
        run_child("nonsense", {}, 20.0, 2**32)
