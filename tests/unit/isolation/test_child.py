"""A child's answers: results, failures with their hints, and nothing for strangers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaic_onnx.core.errors import DeviceError, ModelError, UsageError
from mosaic_onnx.isolation import actions
from mosaic_onnx.isolation.child import Host, answer, serve, set_up
from mosaic_onnx.isolation.marks import Mark, Marks

ADDRESS = "mosaic_onnx.backends.onnxruntime.backend:BACKEND"


@pytest.fixture
def host() -> Host:
    return Host({"onnxruntime": ADDRESS}, Marks.none())


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the action ``find`` raise."""

    def find(host: Host, request: Mapping[str, Any]) -> Any:
        host.marks.set(host.marks.number(Mark("npu", "run")))
        raise error

    monkeypatch.setattr(actions, "find", find)


def asked(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = answer(host, {"action": "mosaic_onnx.isolation.actions:find", "backend": "onnxruntime"})
    return found


def test_devices_come_as_json(host: Host) -> None:
    found = json.loads(json.dumps(asked(host)))
    assert [device["name"] for device in found["devices"]] == ["cpu"]
    assert "onnxruntime" in found["versions"]


def test_no_function_of_another_package_is_called(host: Host) -> None:
    assert answer(host, {"action": "os:system"}) == {"failure": "os is not a module of this package"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), {"failure": "it takes more memory than its process may have"}),
        (UsageError("bad option", "name another"), {"failure": "bad option", "hint": "name another", "is_usage": True}),
        (DeviceError("it broke", device="npu"), {"failure": "it broke", "hint": "", "device": "npu"}),
        (ModelError("no", "try again"), {"failure": "no", "hint": "try again", "device": ""}),
        (ValueError("two\nlines"), {"failure": "ValueError: two lines", "hint": "", "device": ""}),
    ],
)
def test_whatever_an_action_raises_is_answered(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: dict[str, Any]
) -> None:
    raising(monkeypatch, error)
    assert asked(host) == expected
    assert host.marks.read() is None  # what it was doing is over


def test_a_long_request_lies_in_a_file(host: Host, tmp_path: Path) -> None:
    request = {"action": "mosaic_onnx.isolation.actions:find", "backend": "onnxruntime"}
    (tmp_path / "request").write_text(json.dumps(request))
    answers = io.StringIO()
    serve(host, io.StringIO(f"{json.dumps(request)}\n{tmp_path / 'request'}\n"), answers)
    one, other = map(json.loads, answers.getvalue().splitlines())
    assert one == other


def test_a_child_takes_on_what_it_is_told() -> None:
    told = {
        "backends": {"onnxruntime": ADDRESS},
        "marks": None,
        "memory_limit_bytes": None,
        "parent": None,
        "imports": (),
        "preload": (),
    }
    made = set_up(told)
    assert made.backend("onnxruntime").name == "onnxruntime"
    assert made.keep("one") != made.keep("other")
    assert sorted(made.objects.values()) == ["one", "other"]
