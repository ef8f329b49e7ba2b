"""OR-tools' CP-SAT, the optional solver: whether it is there, and how it is set up."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

MAX_WORKERS = 8
"""Threads beyond this bring little."""


def available() -> bool:
    """Return whether OR-tools is installed."""
    return find_spec("ortools") is not None


def new_solver(time_limit_s: float, seed: int) -> cp_model.CpSolver:
    """Return a solver with a time limit; as many threads as this process may use, so what it finds in time may vary."""
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(time_limit_s, 0.05)
    solver.parameters.random_seed = seed
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    solver.parameters.num_workers = min(threads, MAX_WORKERS)
    return solver
