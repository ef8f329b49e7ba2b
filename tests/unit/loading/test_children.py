"""Children end at their limits, and what they say is never mixed with what libraries print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import parser

from mosaic_onnx.core.process.process_clock import PATIENCE
from mosaic_onnx.loading import children
from mosaic_onnx.loading.children import ChildFailure, Children

ENDLESS = (
    '<ir_version: 10, opset_import: ["" : 21]> g (float[n] x) => (float[m] y) <int64 n = {9000000000000000000}, '
    "bool c = {1}> { y = Loop(n, c, x) <body = b (int64 i, bool go, float[k] a) => (bool on, float[k] o) "
    "{ on = Identity(go)  o = Relu(a) }> }"
)
linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux ends a process with its parent, and lists children"
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
        Children().run("types", request(tmp_path, ENDLESS), 3.0, 4 * 2**30)
    assert time.monotonic() - started_s < PATIENCE * 3.0 + 10
    assert "waiting for the types and shapes of a model" in caplog.text


def test_a_child_without_memory_says_so(tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    with pytest.raises(ChildFailure, match=r"memory|crash"):
        Children().run("types", request(tmp_path, text), 20.0, 2**24)


def test_an_unknown_job_is_a_crash_with_its_last_word() -> None:
    with pytest.raises(ChildFailure, match=r"crash: exit status 1: KeyError: 'nonsense'"):
        Children().run("nonsense", {}, 20.0, 2**32)


@linux
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps(request(tmp_path, ENDLESS)))
    words = "import json, pathlib, sys; from mosaic_onnx.loading.children import Children; "
    words += "Children().run('types', json.loads(pathlib.Path(sys.argv[1]).read_text()), 60.0, 4 * 2**30)"
    parent = subprocess.Popen([sys.executable, "-c", words, str(tmp_path / "request.json")])
    child = until(lambda: running_children(parent.pid))[0]
    until(lambda: cpu_ticks(child) > 100)  # it has read its request, and works
    parent.kill()
    parent.wait()
    assert until(lambda: has_ended(child))


def test_children_forked_ahead_answer_as_one_that_is_not(tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[n] x) => (float[n] y) { y = Relu(x) }'
    asked = request(tmp_path, text)
    with Children(ahead=True) as ahead:
        answers = [ahead.run("types", asked, 20.0, 4 * 2**30) for _ in range(3)]
    assert answers == [Children().run("types", asked, 20.0, 4 * 2**30)] * 3


def test_a_forked_child_that_hangs_is_ended_at_its_limit_and_the_next_one_answers(tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    with Children(ahead=True) as ahead:
        with pytest.raises(ChildFailure, match="time: not done after 2 s"):
            ahead.run("types", request(tmp_path, ENDLESS), 2.0, 4 * 2**30)
        assert "symbols" in ahead.run("types", request(tmp_path, text), 20.0, 4 * 2**30)


def test_a_forked_child_that_fails_leaves_its_last_word_and_the_next_one_answers(tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    with Children(ahead=True) as ahead:
        with pytest.raises(ChildFailure, match=r"crash: exit status 1: KeyError: 'nonsense'"):
            ahead.run("nonsense", {}, 20.0, 2**32)
        with pytest.raises(ChildFailure, match=r"memory|crash"):
            ahead.run("types", request(tmp_path, text), 20.0, 2**24)
        assert "symbols" in ahead.run("types", request(tmp_path, text), 20.0, 4 * 2**30)


@linux
def test_a_process_that_starts_children_and_is_gone_is_a_crash_and_not_a_wait(tmp_path: Path) -> None:
    before = set(running_children(os.getpid()))
    with Children(ahead=True) as ahead:
        (server,) = set(running_children(os.getpid())) - before
        os.kill(server, signal.SIGKILL)
        with pytest.raises(ChildFailure, match="crash: the process that starts children has ended"):
            ahead.run("types", request(tmp_path, ENDLESS), 20.0, 4 * 2**30)


@linux
def test_a_process_that_starts_children_ends_with_its_context_and_with_its_parent() -> None:
    before = set(running_children(os.getpid()))
    with Children(ahead=True):
        (server,) = set(running_children(os.getpid())) - before
    assert until(lambda: has_ended(server))
    words = "import time; from mosaic_onnx.loading.children import Children; Children(ahead=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", words]) as parent:
        child = until(lambda: running_children(parent.pid))[0]
        parent.kill()
    assert until(lambda: has_ended(child))


@linux
def test_a_forked_child_dies_with_the_process_that_asked(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps(request(tmp_path, ENDLESS)))
    words = "import json, pathlib, sys; from mosaic_onnx.loading.children import Children; "
    words += "Children(ahead=True).run('types', json.loads(pathlib.Path(sys.argv[1]).read_text()), 60.0, 4 * 2**30)"
    with subprocess.Popen([sys.executable, "-c", words, str(tmp_path / "request.json")]) as parent:
        server = until(lambda: running_children(parent.pid))[0]
        child = until(lambda: running_children(server))[0]
        until(lambda: cpu_ticks(child) > 100)
        parent.kill()
    assert until(lambda: has_ended(child))


def cpu_ticks(process: int) -> int:
    """Ticks of processor time that a process has had."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11])


def has_ended(process: int) -> bool:
    """Return whether a process is gone, or only waits for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def running_children(parent: int) -> list[int]:
    """Processes whose parent this is."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(word) for word in listed.read_text().split()]


def until(found: Callable[[], Any]) -> Any:
    """Return what is found in the end; fail the test if nothing is for half a minute."""
    end_s = time.monotonic() + 30
    while not (value := found()):
        assert time.monotonic() < end_s, "nothing happened for 30 s"
        time.sleep(0.05)
    return value
