from __future__ import annotations

import threading
import time

import pytest

from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.runtime.workers import DeviceWorker, Rank, Workers


def test_jobs_run_by_priority_then_by_request_then_by_slice() -> None:
    worker = DeviceWorker("cpu")
    assert worker.try_borrow()
    ran: list[tuple[int, int, int]] = []
    over = threading.Event()
    ranks = [(1, 0, 0), (0, 2, 1), (0, 1, 3), (0, 1, 0), (-1, 9, 9)]
    for rank in ranks:
        worker.submit(Rank(*rank), lambda rank=rank: ran.append(rank))
    worker.submit(Rank(9, 0, 0), over.set)
    assert worker.waiting_count == len(ranks) + 1
    worker.give_back()
    assert over.wait(5)
    worker.close()
    assert ran == sorted(ranks)


def test_jobs_of_one_rank_run_in_the_order_in_which_they_came() -> None:
    worker = DeviceWorker("cpu")
    assert worker.try_borrow()
    ran: list[int] = []
    over = threading.Event()
    for number in range(20):
        worker.submit(Rank(0, 0, 0), lambda number=number: ran.append(number))
    worker.submit(Rank(0, 0, 0), over.set)
    worker.give_back()
    assert over.wait(5)
    worker.close()
    assert ran == list(range(20))


def test_a_device_runs_one_job_at_a_time_whoever_uses_it() -> None:
    worker = DeviceWorker("cpu")
    users = [0]
    most = [0]

    def use() -> None:
        users[0] += 1
        most[0] = max(most[0], users[0])
        time.sleep(0.0005)
        users[0] -= 1

    def borrow() -> None:
        for _ in range(50):
            if worker.try_borrow():
                use()
                worker.give_back()

    callers = [threading.Thread(target=borrow) for _ in range(3)]
    for caller in callers:
        caller.start()
    over = threading.Event()
    for number in range(50):
        worker.submit(Rank(0, number, 0), use)
    worker.submit(Rank(1, 0, 0), over.set)
    for caller in callers:
        caller.join()
    assert over.wait(10)
    worker.close()
    assert most == [1]


def test_a_busy_device_is_not_lent() -> None:
    workers = Workers(["a", "b"])
    assert workers["b"].try_borrow()
    assert not workers.try_borrow(["a", "b"])
    assert workers["a"].try_borrow()  # it was given back
    workers.give_back(["a", "b"])
    assert workers.try_borrow(["a", "b"])
    workers.close()


def test_a_worker_starts_its_thread_with_its_first_job_and_ends_it_when_closed() -> None:
    before = threading.active_count()
    worker = DeviceWorker("cpu")
    assert threading.active_count() == before
    over = threading.Event()
    worker.submit(Rank(0, 0, 0), over.set)
    assert over.wait(5)
    assert threading.active_count() == before + 1
    worker.close()
    worker.close()
    assert threading.active_count() == before
    with pytest.raises(BackendError, match="device cpu was closed"):
        worker.submit(Rank(0, 0, 0), over.set)


def test_numbers_of_requests_are_counted_over_everything_that_shares_the_workers() -> None:
    workers = Workers(["a"])
    assert [workers.next_number() for _ in range(3)] == [0, 1, 2]


def test_devices_that_exclude_each_other_take_turns_and_a_third_works_beside_them() -> None:
    workers = Workers(["a", "b", "c"], exclusive=[("a", "b")])
    running: set[str] = set()
    seen: list[frozenset[str]] = []
    over = threading.Semaphore(0)

    def job(device: str) -> None:
        running.add(device)
        time.sleep(0.001)
        seen.append(frozenset(running))
        running.discard(device)
        over.release()

    for number in range(30):
        for device in "abc":
            workers[device].submit(Rank(0, number, 0), lambda device=device: job(device))
    for _ in range(90):
        assert over.acquire(timeout=5)
    workers.close()
    assert not any({"a", "b"} <= devices for devices in seen)
    assert any("c" in devices and len(devices) == 2 for devices in seen)


def test_of_devices_that_take_turns_the_lower_rank_goes_first() -> None:
    workers = Workers(["a", "b"], exclusive=[("a", "b")])
    assert workers["a"].try_borrow()
    assert not workers["b"].try_borrow()
    ran: list[str] = []
    over = threading.Semaphore(0)
    for device, number in (("a", 2), ("b", 1), ("a", 4), ("b", 3)):
        words = f"{device}{number}"
        workers[device].submit(Rank(0, number, 0), lambda words=words: (ran.append(words), over.release()))
    workers["a"].give_back()
    for _ in range(4):
        assert over.acquire(timeout=5)
    workers.close()
    assert ran == ["b1", "a2", "b3", "a4"]


def test_one_thread_may_take_devices_that_exclude_each_other() -> None:
    workers = Workers(["a", "b"], exclusive=[("a", "b")])
    assert workers.try_borrow(["a", "b"])
    assert not workers["a"].try_borrow()
    workers.give_back(["a", "b"])
    assert workers["b"].try_borrow()
    workers["b"].give_back()
    workers.close()
