"""Evaluate schedules in this process, in processes on all cores, or on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import Self

from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.core.process.worker_pool import worker_pool
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.search.fitness import Evaluation, EvaluationRequest, evaluate
from mosaic_onnx.scenarios.simulation.arrivals import request_counts

if TYPE_CHECKING:
    from loky import ProcessPoolExecutor

_CHUNKS_PER_WORKER = 2
_MOST_REMEMBERED = 100_000
_RUNS_OF_A_BISECTION = 10


class Pool(Protocol):
    """Evaluates schedules of one instance; the results do not depend on where."""

    def evaluate(self, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
        """Return the evaluations, in the order of the requests."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of all workers."""


class SerialPool:
    """Evaluates in this process."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def evaluate(self, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
        """Return the evaluations, in the order of the requests."""
        return [evaluate(self._instance, request) for request in requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class CachingPool:
    """Passes on only what has not been evaluated before; small scenarios have few different schedules."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[EvaluationRequest, Evaluation] = {}

    def evaluate(self, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
        """Return the evaluations, in the order of the requests."""
        new = list(dict.fromkeys(request for request in requests if request not in self._known))
        if len(self._known) > _MOST_REMEMBERED:
            self._known.clear()
            new = list(dict.fromkeys(requests))
        self._known.update(zip(new, self._pool.evaluate(new), strict=True))
        return [self._known[request] for request in requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class MeteredPool:
    """Counts the work that another pool is given, in simulated slices: the same for the same requests everywhere."""

    def __init__(self, pool: Pool, instance: Instance) -> None:
        self._pool = pool
        counts = request_counts(instance.scenario)
        self._frame_counts = [counts[model.group] for model in instance.models]
        self.work = 0
        """Slices that the requests so far simulate, about."""

    def evaluate(self, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
        """Return the evaluations, in the order of the requests."""
        for request in requests:
            slices = zip(self._frame_counts, request.schedule.proposals, strict=True)
            once = sum(frame_count * len(proposal) for frame_count, proposal in slices)
            self.work += once * (_RUNS_OF_A_BISECTION if request.kind == "least-multiplier" else 1)
        return self._pool.evaluate(requests)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_worker_instance: list[Instance] = []
"""In a worker process: the instance that it was started for, sent once and not with every request."""


def _start_worker(instance: Instance) -> None:
    _worker_instance[:] = [instance]


def _evaluate_here(requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
    return [evaluate(_worker_instance[0], request) for request in requests]


class ProcessPool(SerialPool):
    """Evaluates in processes of this machine, started with the first batch."""

    def __init__(self, instance: Instance, worker_count: int | None = None) -> None:
        """Prepare; no process is started yet.

        Args:
            instance: whose schedules are asked about.
            worker_count: processes; by default as many as there are cores to use.
        """
        super().__init__(instance)
        self._worker_count = worker_count or len(os.sched_getaffinity(0))
        self._executor: ProcessPoolExecutor | None = None

    def evaluate(self, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
        """Return the evaluations, in the order of the requests."""
        if self._worker_count < 2 or len(requests) < 2:
            return super().evaluate(requests)
        try:
            return self._evaluate_in_processes(requests)
        except BrokenProcessPool:
            # The system killed one, or lets none start; evaluation goes on here, and the results are the same.
            self._worker_count = 1
            return super().evaluate(requests)

    def _evaluate_in_processes(self, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
        if self._executor is None:
            self._executor = worker_pool(self._worker_count, _start_worker, (self._instance,))
        parts = chunks(requests, self._worker_count * _CHUNKS_PER_WORKER)
        return [evaluation for part in self._executor.map(_evaluate_here, parts) for evaluation in part]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(kill_workers=True)  # what nobody waits for any more is not done


class RayPool:
    """Evaluates on a Ray cluster (extra ``ray``); ``local`` starts one on this machine."""

    def __init__(self, instance: Instance, address: str) -> None:
        """Join the cluster.

        Args:
            instance: whose schedules are asked about.
            address: ``local``, ``auto``, or where the cluster's head listens.

        Raises:
            UsageError: Ray is not installed.
            BackendError: no cluster answers there.
        """
        try:
            import ray
        except ImportError as error:
            raise UsageError("--ray needs Ray", "pip install 'mosaic-onnx[ray]'") from error
        self._ray: Any = ray
        self._is_mine = not ray.is_initialized()
        if self._is_mine:
            try:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray raises plain ones too
                raise BackendError(
                    f"no Ray cluster answers at {address}: {error}", "--ray local starts one on this machine"
                ) from error
        self._instance = ray.put(instance)
        self._evaluate_remotely = ray.remote(_evaluate_there)
        self._worker_count = max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def evaluate(self, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
        """Return the evaluations, in the order of the requests."""
        parts = chunks(requests, self._worker_count * _CHUNKS_PER_WORKER)
        found = self._ray.get([self._evaluate_remotely.remote(self._instance, part) for part in parts])
        return [evaluation for part in found for evaluation in part]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_mine:
            self._ray.shutdown()


def _evaluate_there(instance: Instance, requests: Sequence[EvaluationRequest]) -> list[Evaluation]:
    """Evaluate a part of a batch on the cluster."""
    return [evaluate(instance, request) for request in requests]


def chunks(requests: Sequence[EvaluationRequest], count: int) -> list[Sequence[EvaluationRequest]]:
    """Return the requests in at most ``count`` parts of nearly equal length, none empty."""
    length = -(-len(requests) // count) if requests else 1
    return [requests[begin : begin + length] for begin in range(0, len(requests), length)]
