"""Where questions are answered: in this process, in processes on all cores, or on a Ray cluster. Same answers."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Protocol, Self

from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.search.merit import Question, Reply, evaluate

_CHUNKS_PER_WORKER = 2
_MOST_REMEMBERED = 100_000


class Pool(Protocol):
    """Answers questions about the schedules of one instance."""

    def answers(self, questions: Sequence[Question]) -> list[Reply]:
        """The answers, in the order of the questions."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of all workers."""


class SerialPool:
    """Answers in this process."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def answers(self, questions: Sequence[Question]) -> list[Reply]:
        """The answers, in the order of the questions."""
        return [evaluate(self._instance, question) for question in questions]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class RememberingPool:
    """Asks another pool what has not been asked before; small scenarios have few different schedules."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[Question, Reply] = {}

    def answers(self, questions: Sequence[Question]) -> list[Reply]:
        """The answers, in the order of the questions."""
        new = list(dict.fromkeys(question for question in questions if question not in self._known))
        if len(self._known) > _MOST_REMEMBERED:
            self._known.clear()
            new = list(dict.fromkeys(questions))
        self._known.update(zip(new, self._pool.answers(new), strict=True))
        return [self._known[question] for question in questions]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_worker_instance: list[Instance] = []
"""In a worker process: the instance that it was started for, sent once and not with every question."""


def _start_worker(instance: Instance) -> None:
    _worker_instance[:] = [instance]


def _answer_here(questions: Sequence[Question]) -> list[Reply]:
    return [evaluate(_worker_instance[0], question) for question in questions]


class ProcessPool(SerialPool):
    """Answers in processes of this machine, started with the first questions that are worth it."""

    def __init__(self, instance: Instance, worker_count: int | None = None) -> None:
        """Prepare; no process is started yet.

        Args:
            instance: whose schedules are asked about.
            worker_count: processes; by default as many as there are cores to use.
        """
        super().__init__(instance)
        self._worker_count = worker_count or len(os.sched_getaffinity(0))
        self._executor: ProcessPoolExecutor | None = None

    def answers(self, questions: Sequence[Question]) -> list[Reply]:
        """The answers, in the order of the questions."""
        if self._worker_count < 2 or len(questions) < 2:
            return super().answers(questions)
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self._worker_count, get_context("spawn"), _start_worker, (self._instance,)
            )
        parts = chunks(questions, self._worker_count * _CHUNKS_PER_WORKER)
        return [reply for part in self._executor.map(_answer_here, parts) for reply in part]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


class RayPool:
    """Answers on a Ray cluster (extra ``ray``); ``local`` starts one on this machine."""

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
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise BackendError(
                    f"no Ray cluster answers at {address}: {error}", "--ray local starts one on this machine"
                ) from error
        self._instance = ray.put(instance)
        self._answer = ray.remote(_answer_there)
        self._worker_count = max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def answers(self, questions: Sequence[Question]) -> list[Reply]:
        """The answers, in the order of the questions."""
        parts = chunks(questions, self._worker_count * _CHUNKS_PER_WORKER)
        found = self._ray.get([self._answer.remote(self._instance, part) for part in parts])
        return [reply for part in found for reply in part]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_mine:
            self._ray.shutdown()


def _answer_there(instance: Instance, questions: Sequence[Question]) -> list[Reply]:
    """What runs on the cluster."""
    return [evaluate(instance, question) for question in questions]


def chunks(questions: Sequence[Question], count: int) -> list[Sequence[Question]]:
    """The questions in at most ``count`` parts of nearly equal length, none empty."""
    length = -(-len(questions) // count) if questions else 1
    return [questions[begin : begin + length] for begin in range(0, len(questions), length)]
