"""A child that is lent to one user after another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import DeviceError
from mosaic_onnx.isolation.backend import isolated
from mosaic_onnx.isolation.child import Host
from mosaic_onnx.isolation.kept_child import KeptChild
from mosaic_onnx.isolation.marks import Marks
from mosaic_onnx.isolation.process import ChildProcess
from mosaic_onnx.profiling.whole_plans.child import ProgramChild
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine
from tests.unit.profiling.test_whole_plans import plan_of

KNOWN = {"onnxruntime": "mosaic_onnx.backends.onnxruntime.backend:BACKEND"}
BROKEN = {**KNOWN, "broken": "tests.unit.isolation.test_kept_child:NOT_THERE"}


@pytest.fixture
def kept() -> Iterator[KeptChild]:
    made = KeptChild(KNOWN)
    yield made
    made.close()


def pid_of(child: ChildProcess) -> int:
    """The process of a child that answers."""
    child.ask("mosaic_onnx.isolation.actions:find", {"backend": "onnxruntime"}, 60.0)
    process = child._process
    assert process is not None
    return process.pid


def test_the_child_that_was_started_is_the_one_that_is_lent(kept: KeptChild) -> None:
    kept.start()
    assert kept._waiting is not None
    assert kept._waiting._process is not None
    started = kept._waiting._process.pid
    child = kept.lend("a plan", KNOWN)
    assert pid_of(child) == started
    assert child.name == "a plan"
    child.close()


def test_a_child_that_was_given_back_is_lent_again(kept: KeptChild) -> None:
    child = kept.lend("one", KNOWN)
    first = pid_of(child)
    kept.give_back(child)
    again = kept.lend("another", KNOWN)
    assert pid_of(again) == first
    again.close()


def test_a_child_that_ends_while_it_imports_is_replaced(kept: KeptChild) -> None:
    kept.start(("mosaic_onnx.no_such_module",))
    assert kept._waiting is not None
    started = kept._waiting._process
    assert started is not None
    assert started.wait(60) == 1
    child = kept.lend("a plan", KNOWN)
    assert pid_of(child) != started.pid
    child.close()


def test_runtimes_are_imported_before_the_first_request() -> None:
    words = {"backends": BROKEN, "marks": None, "memory_limit_bytes": None, "parent": None, "imports": ()}
    imported = (
        "import json, sys; from mosaic_onnx.isolation.child import set_up;"
        "set_up(json.loads(sys.argv[1])); print('onnxruntime' in sys.modules)"
    )
    for names, expected in (((), "False"), (("broken", "onnxruntime"), "True")):
        given = json.dumps({**words, "preload": names})
        done = subprocess.run([sys.executable, "-c", imported, given], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_a_child_that_died_is_not_kept(kept: KeptChild) -> None:
    child = kept.lend("a plan", KNOWN)
    first = pid_of(child)
    assert child._process is not None
    child._process.kill()
    kept.give_back(child)
    assert kept._waiting is None
    again = kept.lend("another", KNOWN)
    assert pid_of(again) != first
    again.close()


def test_who_needs_another_backend_gets_a_child_of_its_own(kept: KeptChild) -> None:
    kept.start()
    waiting = kept._waiting
    child = kept.lend("a plan", BROKEN)
    assert kept._waiting is waiting
    pid_of(child)
    kept.give_back(child)
    assert kept._waiting is waiting
    assert child._process is None


def test_forgetting_closes_what_was_made() -> None:
    closed = []

    class Made:
        def close(self) -> None:
            closed.append(self)

    host = Host({}, Marks.none())
    host.keep(Made())
    host.keep(Made())
    host.forget()
    assert len(closed) == 2
    assert not host.objects


def test_plans_that_run_one_after_the_other_share_a_process_until_something_fails() -> None:
    backends = isolated({"onnxruntime": BACKEND}, isolates_all=True)
    machine = Machine({"cpu": Device("cpu", backend="onnxruntime")}, backends)
    inputs = {"x": np.ones(4, np.float32)}
    seen = []
    for operator in ("Sin", "Cos"):
        with ProgramChild(machine, inputs, ("y",)) as child:
            child.open(plan_of(f"(float[4] x) => (float[4] y) {{ y = {operator} (x) }}"))
            seen.append(child._child._process)
    assert seen[0] is seen[1]
    assert seen[0] is not None
    with pytest.raises(DeviceError, match="Nonsense"), ProgramChild(machine, inputs, ("y",)) as child:
        child.open(plan_of("(float[4] x) => (float[4] y) { y = Nonsense (x) }"))
    assert seen[0].poll() is not None


def test_the_process_of_plans_starts_with_the_context_and_ends_with_it() -> None:
    backends = isolated({"onnxruntime": BACKEND}, isolates_all=True)
    machine = Machine({"cpu": Device("cpu", backend="onnxruntime")}, backends)
    assert machine.kept_child is not None
    with machine.with_child():
        assert machine.kept_child._waiting is not None
        process = machine.kept_child._waiting._process
        assert process is not None
        assert process.poll() is None
    assert machine.kept_child._waiting is None
    assert process.poll() is not None


def test_no_process_is_started_where_no_device_is_isolated() -> None:
    backends = isolated({"onnxruntime": BACKEND})
    machine = Machine({"cpu": Device("cpu", backend="onnxruntime")}, backends)
    assert machine.kept_child is not None
    with machine.with_child():
        assert machine.kept_child._waiting is None
