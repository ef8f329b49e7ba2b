"""Worker processes for pure computations."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mosaic_onnx.core.process.parent_death import die_with_parent

if TYPE_CHECKING:
    from loky import ProcessPoolExecutor


def worker_pool(
    count: int, prepare: Callable[..., None] | None = None, given: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return an executor of so many processes, started with the first task.

    They come from loky: the standard library's import the main module of the program once more, which runs a script
    that has no ``if __name__ == "__main__"`` twice. They end with the thread that gives the first task.

    Args:
        count: of processes.
        prepare: called in each process before its first task.
        given: the arguments of ``prepare``.
    """
    from loky import ProcessPoolExecutor

    return ProcessPoolExecutor(count, initializer=_begin, initargs=(os.getpid(), prepare, given))


def _begin(parent: int, prepare: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    die_with_parent(parent)
    if prepare is not None:
        prepare(*given)
