"""Measure the requests a second of a session at rising load."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.runtime.session import Session
from mosaic_onnx.runtime.shaped_session import ShapedSession


@dataclass(frozen=True)
class RateAtLoad:
    """A session's throughput at a constant number of outstanding requests.

    Attributes:
        outstanding_count: requests submitted and not yet answered, kept constant.
        request_count: requests that were answered.
        seconds: from the first submission to the last answer.
        latency_s: from submission to answer, a figure a request.
    """

    outstanding_count: int
    request_count: int
    seconds: float
    latency_s: tuple[float, ...]

    @property
    def requests_per_second(self) -> float:
        """Answers over time."""
        return self.request_count / self.seconds

    def latency_percentile_s(self, percent: float) -> float:
        """The latency that so many percent of the requests do not exceed."""
        return float(np.percentile(self.latency_s, percent))


def rate_at_load(
    session: Session | ShapedSession, inputs: Mapping[str, Array], outstanding_count: int, seconds: float
) -> RateAtLoad:
    """Keep so many requests outstanding for so long, each submitted when another is answered.

    Args:
        session: what answers.
        inputs: of every request.
        outstanding_count: requests that are submitted and not answered, at any time.
        seconds: how long to go on; requests that are outstanding then are waited for.

    Raises:
        BackendError: a device failed.
    """
    clock = time.perf_counter
    slots = threading.Semaphore(outstanding_count)
    latency_s: list[float] = []
    failures: list[BaseException] = []

    def submit() -> None:
        submitted_s = clock()

        def answered(done: object) -> None:
            latency_s.append(clock() - submitted_s)
            error = future.exception()
            if error is not None:
                failures.append(error)
            slots.release()

        future = session.run_async(inputs)
        future.add_done_callback(answered)

    began_s = clock()
    while clock() - began_s < seconds and not failures:
        slots.acquire()
        submit()
    for _ in range(outstanding_count):
        slots.acquire()
    taken_s = clock() - began_s
    if failures:
        raise failures[0]
    return RateAtLoad(outstanding_count, len(latency_s), taken_s, tuple(latency_s))


def rising_loads(in_flight_limit: int) -> Sequence[int]:
    """Return the numbers of outstanding requests to try: doubled until twice of what can be under way at once."""
    loads = [1]
    while loads[-1] < 2 * in_flight_limit:
        loads.append(2 * loads[-1])
    return loads
