"""Many requests from many threads on real runtimes: every answer right, in order a caller, memory flat."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.graph.signature import given_inputs, tensor_specs
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.runtime.opening import held_cores, load_plan
from mosaic_onnx.runtime.request_rates import rate_at_load, rising_loads
from mosaic_onnx.runtime.session import Route, Session
from mosaic_onnx.runtime.workers import Workers

TEXTS = (
    "one (float[64, 64] x) => (float[64, 64] a) { a = Relu(x) }",
    "two (float[64, 64] a) => (float[64, 64] b) { b = MatMul(a, a) }",
    "three (float[64, 64] a, float[64, 64] b) => (float[64, 64] y) { y = Add(a, b) }",
)


def open_pipelined(routes: tuple[tuple[str, ...], ...]) -> Session:
    """Three slices on devices of one core each."""
    models = [parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}') for text in TEXTS]
    slices = [
        SliceModel(one, None, tuple(i.name for i in one.graph.input), tuple(o.name for o in one.graph.output))
        for one in models
    ]
    cores = usable_cores()
    devices = {
        name: Device(name, backend="onnxruntime", options={"threads": 1, "cores": str(cores[at % len(cores)])})
        for at, name in enumerate(("a", "b"))
    }
    made = []
    for states in routes:
        placed = tuple(Slice((at,), state) for at, state in enumerate(states))
        plan = Plan("throughput", "sequential", "by hand", placed, (), Predicted(2e-3, None, 1e-3))
        made.append(Route(load_plan(slices, plan, devices, {"onnxruntime": BACKEND}, inputs=("x",), outputs=("y",)), 3))
    inputs, outputs = tensor_specs(given_inputs(models[0].graph)), tensor_specs(models[2].graph.output)
    return Session(made, inputs, outputs, Workers(devices, held_cores(devices)))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def ask_from_threads(session: Session, thread_count: int, request_count: int) -> list[str]:
    """Return the faults."""
    faults: list[str] = []

    def ask(caller: int) -> None:
        random = np.random.default_rng(caller)
        done: list[int] = []
        waiting = []
        for number in range(request_count):
            x = random.standard_normal((64, 64)).astype(np.float32)
            future = session.run_async({"x": x})
            future.add_done_callback(lambda _, number=number: done.append(number))
            waiting.append((x, future))
            if len(waiting) == 8:
                check(*waiting.pop(0))
        for each in waiting:
            check(*each)
        if done != list(range(request_count)):
            faults.append(f"caller {caller}: out of order")

    def check(x: np.ndarray, future: object) -> None:
        a = np.maximum(x, 0)
        y = future.result(60)["y"]  # type: ignore[attr-defined]
        if not np.allclose(y, a + a @ a, rtol=1e-4, atol=1e-4):
            faults.append("wrong")

    callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(thread_count)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return faults


@pytest.mark.parametrize("routes", [(("a", "b", "a"),), (("a",) * 3, ("b",) * 3)])
def test_requests_from_many_threads_are_answered_right_and_in_order(routes: tuple[tuple[str, ...], ...]) -> None:
    with open_pipelined(routes) as session:
        assert ask_from_threads(session, 8, 25) == []


@pytest.mark.slow
@pytest.mark.parametrize("routes", [(("a", "b", "a"),), (("a",) * 3, ("b",) * 3)])
def test_ten_thousand_requests_leave_memory_as_it_was(routes: tuple[tuple[str, ...], ...]) -> None:
    with open_pipelined(routes) as session:
        assert ask_from_threads(session, 8, 250) == []
        before = resident_bytes()
        assert ask_from_threads(session, 8, 1000) == []
        assert resident_bytes() - before < 8 * 2**20


def test_a_rate_counts_every_request_at_each_load() -> None:
    with open_pipelined((("a", "b", "a"),)) as session:
        x = {"x": np.ones((64, 64), np.float32)}
        for count in rising_loads(2):
            found = rate_at_load(session, x, count, 0.05)
            assert found.request_count == len(found.latency_s) > 0
            assert found.requests_per_second == found.request_count / found.seconds
    assert list(rising_loads(2)) == [1, 2, 4]
