from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait

import numpy as np
import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, ModelError, UsageError
from mosaic_onnx.core.graph.signature import TensorSpec, tensor_specs
from mosaic_onnx.core.plans import Schedule
from mosaic_onnx.runtime.opening import load_plan
from mosaic_onnx.runtime.session import Route, Session
from mosaic_onnx.runtime.workers import Workers
from tests.unit.runtime.helpers import FakeBackend, diamond, plan_of, slice_of

X = np.array([-1.0, 2.0, -3.0, 4.0], np.float32)
Y = np.maximum(X, 0)


def open_session(
    states: Sequence[str] | Sequence[Sequence[str]] = ("a", "b", "a", "b"),
    backend: FakeBackend | None = None,
    *,
    slots: int = 3,
    schedule: Schedule = "sequential",
    waiting_limit: int = 64,
    workers: Workers | None = None,
) -> Session:
    """The diamond on one route, or on several."""
    fake = backend or FakeBackend()
    routes = [states] if isinstance(states[0], str) else states
    names = dict.fromkeys(name for route in routes for name in route)
    devices = {name: Device(name, backend="fake") for name in names}
    made = [
        Route(
            load_plan(diamond(), plan_of(route, schedule), devices, {"fake": fake}, inputs=("x",), outputs=("y",)),
            slots,
        )
        for route in routes
    ]
    specs = TensorSpec("x", "tensor(float)", (4,)), TensorSpec("y", "tensor(float)", (4,))
    return Session(
        made, specs[:1], specs[1:], workers or Workers(names), owns_workers=workers is None, waiting_limit=waiting_limit
    )


def test_it_runs_in_both_forms_and_with_the_array_alone() -> None:
    with open_session() as session:
        np.testing.assert_array_equal(session.run({"x": X})["y"], Y)
        for given in (session.run(None, {"x": X}), session.run(["y"], {"x": X}), session.run([], {"x": X})):
            assert isinstance(given, list)
            np.testing.assert_array_equal(given[0], Y)
        np.testing.assert_array_equal(session.run(X)["y"], Y)
        np.testing.assert_array_equal(session.run({"x": X.tolist()} | {"x": X})["y"], Y)
        np.testing.assert_array_equal(session.run_async({"x": X}).result()["y"], Y)
        np.testing.assert_array_equal(session.run_async(["y"], {"x": X}).result()["y"], Y)


def test_wrong_arguments_are_named() -> None:
    with open_session() as session:
        with pytest.raises(UsageError, match="'z' is not an output"):
            session.run(["z"], {"x": X})
        with pytest.raises(UsageError, match="names of outputs come before"):
            session.run({"x": X}, {"x": X})
        with pytest.raises(UsageError, match="no feeds"):
            session.run(None)
        with pytest.raises(UsageError, match="one text, 'y'"):
            session.run("y", {"x": X})
        with pytest.raises(UsageError, match="feeds are a list"):
            session.run(None, [X])  # type: ignore[arg-type]
        with pytest.raises(ModelError, match="x is missing"):
            session.run_async({})
        with pytest.raises(ModelError, match=r"input x is float32 \[3\]"):
            session.run({"x": X[:3]})
        with pytest.raises(UsageError, match="run options"):
            session.run(None, {"x": X}, run_options=object())  # type: ignore[arg-type]


def test_it_says_what_the_model_takes_and_gives_as_onnx_runtime_does() -> None:
    with open_session() as session:
        assert [(one.name, one.type, one.shape) for one in session.get_inputs()] == [("x", "tensor(float)", (4,))]
        assert session.inputs[0].dtype == np.float32
        assert [one.name for one in session.outputs] == ["y"]


def test_alone_it_runs_on_the_calling_thread_and_starts_no_other() -> None:
    before, backend = threading.active_count(), FakeBackend()
    with open_session(backend=backend) as session:
        session.run({"x": X})
        assert threading.active_count() == before
        assert {name for runner in backend.runners for name in runner.threads} == {threading.current_thread().name}


def test_slices_of_successive_requests_run_at_once() -> None:
    busy: set[str] = set()
    seen: list[frozenset[str]] = []

    def work(device: str) -> None:
        busy.add(device)
        time.sleep(0.005)
        seen.append(frozenset(busy))
        busy.discard(device)

    with open_session(["a", "a", "b", "b"], FakeBackend(hook=work)) as session:
        wait([session.run_async({"x": X}) for _ in range(20)])
    assert frozenset({"a", "b"}) in seen


def test_replicas_share_the_requests() -> None:
    backend = FakeBackend(seconds={"a": 0.01, "b": 0.01})
    with open_session([["a"] * 4, ["b"] * 4], backend, slots=2) as session:
        wait([session.run_async({"x": X}) for _ in range(12)])
    ran = [len(runner.threads) for runner in backend.runners]
    assert ran == [1] * 8


def test_results_come_in_the_order_of_submission_whichever_replica_is_faster() -> None:
    backend = FakeBackend(seconds={"slow": 0.01})
    done: list[int] = []
    with open_session([["slow"] * 4, ["fast"] * 4], backend, slots=2) as session:
        futures = []
        for number in range(20):
            futures.append(session.run_async({"x": X * number}))
            futures[-1].add_done_callback(lambda _, number=number: done.append(number))
        for number, future in enumerate(futures):
            np.testing.assert_array_equal(future.result()["y"], np.maximum(X * number, 0))
    assert done == list(range(20))


def test_a_request_of_higher_priority_overtakes_those_that_wait() -> None:
    backend = FakeBackend(seconds={"a": 0.005})
    done: list[str] = []
    with open_session(["a"] * 4, backend, slots=1) as session:
        futures = [session.run_async({"x": X}, priority=1) for _ in range(6)]
        for future in futures:
            future.add_done_callback(lambda _: done.append("usual"))
        urgent = session.run_async({"x": X}, priority=0)
        urgent.add_done_callback(lambda _: done.append("urgent"))
        wait([*futures, urgent])
    assert done.index("urgent") <= 1


def test_submitting_blocks_while_too_many_wait() -> None:
    release = threading.Event()
    backend = FakeBackend(hook=lambda device: release.wait(5) and None)
    with open_session(["a"] * 4, backend, slots=1, waiting_limit=2) as session:
        futures = [session.run_async({"x": X}) for _ in range(3)]  # one runs, two wait
        more: list[Future[dict[str, np.ndarray]]] = []
        submitter = threading.Thread(target=lambda: more.append(session.run_async({"x": X})))
        submitter.start()
        submitter.join(0.1)
        assert submitter.is_alive()
        release.set()
        submitter.join(5)
        assert not submitter.is_alive()
        wait([*futures, *more])


def test_an_error_reaches_its_own_caller_only() -> None:
    backend = FakeBackend()
    with open_session(["a", "b", "a", "b"], backend) as session:
        backend.failing.add("b")
        with pytest.raises(BackendError, match="b is broken"):
            session.run({"x": X})
        failed = [session.run_async({"x": X}) for _ in range(5)]
        assert all(isinstance(one.exception(), BackendError) for one in failed)
        backend.failing.clear()
        np.testing.assert_array_equal(session.run_async({"x": X}).result()["y"], Y)
        np.testing.assert_array_equal(session.run({"x": X})["y"], Y)


def test_a_request_that_waits_can_be_cancelled() -> None:
    release = threading.Event()
    backend = FakeBackend(hook=lambda device: release.wait(5) and None)
    with open_session(["a"] * 4, backend, slots=1) as session:
        first, second, third = (session.run_async({"x": X}) for _ in range(3))
        assert second.cancel()
        release.set()
        with pytest.raises(CancelledError):
            second.result()
        for future in (first, third):
            np.testing.assert_array_equal(future.result()["y"], Y)


def test_a_callback_may_submit_the_next_request() -> None:
    with open_session(slots=1) as session:
        last: Future[dict[str, np.ndarray]] = Future()
        left = [20]

        def again(done: Future[dict[str, np.ndarray]]) -> None:
            left[0] -= 1
            if left[0]:
                session.run_async({"x": X}).add_done_callback(again)
            else:
                last.set_result(done.result())

        session.run_async({"x": X}).add_done_callback(again)
        np.testing.assert_array_equal(last.result(5)["y"], Y)


@pytest.mark.parametrize("schedule", ["sequential", "concurrent"])
@pytest.mark.parametrize("own", [set(), {"b"}])
@pytest.mark.parametrize("unbindable", [set(), {"a"}])
def test_many_threads_get_their_own_right_answers(schedule: Schedule, own: set[str], unbindable: set[str]) -> None:
    wrong: list[int] = []
    backend = FakeBackend(own_memory=own, unbindable=unbindable)
    with open_session(backend=backend, schedule=schedule) as session:

        def ask(caller: int) -> None:
            futures = []
            for number in range(15):
                x = X * (caller * 100 + number)
                futures.append((x, session.run_async({"x": x})))
                if not np.array_equal(session.run({"x": -x})["y"], np.maximum(-x, 0)):
                    wrong.append(number)
            wrong.extend(0 for x, future in futures if not np.array_equal(future.result()["y"], np.maximum(x, 0)))

        callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(1, 5)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert not wrong


def test_closing_finishes_what_was_submitted_and_lets_everything_go() -> None:
    before, backend = threading.active_count(), FakeBackend(seconds={"a": 0.005})
    session = open_session(backend=backend)
    futures = [session.run_async({"x": X}) for _ in range(6)]
    session.close()
    session.close()
    assert all(future.done() for future in futures)
    assert [runner.closed for runner in backend.runners] == [1] * 4
    assert threading.active_count() == before
    for ask in (session.run, session.run_async):
        with pytest.raises(BackendError, match="session was closed"):
            ask({"x": X})


def test_a_session_that_is_dropped_lets_its_threads_go() -> None:
    before = threading.active_count()
    session = open_session()
    session.run_async({"x": X}).result()
    del session
    deadline = time.perf_counter() + 2
    while threading.active_count() > before and time.perf_counter() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert threading.active_count() == before


def test_sessions_share_workers() -> None:
    backend = FakeBackend()
    workers = Workers(["a", "b"])
    with open_session(backend=backend, workers=workers) as one, open_session(backend=backend, workers=workers) as two:
        futures = [session.run_async({"x": X}) for session in (one, two) * 5]
        assert all(np.array_equal(future.result()["y"], Y) for future in futures)
        assert {thread.name for thread in threading.enumerate() if thread.name.startswith("mosaic")} == {
            "mosaic a",
            "mosaic b",
        }
    workers.close()


def test_types_are_told_in_onnx_runtime_s_words() -> None:
    graph = slice_of("g (float[2, N] x, int64 n, string[1] s, seq(float[2]) q) => (float[2] y) { y = ReduceMax(x) }")
    told = [(one.name, one.type, one.shape) for one in tensor_specs(graph.model.graph.input)]
    assert told == [
        ("x", "tensor(float)", (2, "N")),
        ("n", "tensor(int64)", ()),
        ("s", "tensor(string)", (1,)),
        ("q", "seq(tensor(float))", ()),
    ]
