"""Improve a concurrent plan's placement: move what lies on the critical path, list again, keep what is better."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress

from mosaic_onnx.planner.concurrent.list_scheduling import Lister, Schedule
from mosaic_onnx.planner.core.deadline import TimeUpError, check_time
from mosaic_onnx.planner.core.request import TOLERANCE

RESTARTS = 60
"""Number of times that a search that has come to rest is shaken."""
SHAKEN = 0.08
"""Part of the tasks that one shake moves."""


def improve(lister: Lister, start: Schedule, priority: Sequence[float], seed: int, deadline: float) -> Schedule:
    """Return the best schedule found from a start.

    Runs of critical tasks on one device move to another, whole or in part; then a few tasks are moved by chance and
    the search goes on from there.

    Args:
        lister: costs and tasks.
        start: a schedule whose makespan is finite.
        priority: [N] in which order ready tasks are taken.
        seed: of the shakes.
        deadline: ``time.monotonic()`` at which to stop.
    """
    best = current = descend(lister, start, priority, deadline)
    chance = random.Random(seed)
    with suppress(TimeUpError):
        for _ in range(RESTARTS):
            check_time(deadline)
            shaken = lister.schedule(priority, _shaken(lister, current.state, chance))
            if shaken.seconds == float("inf"):
                continue
            found = descend(lister, shaken, priority, deadline)
            if found.seconds <= current.seconds * (1 + TOLERANCE):
                current = found
            if found.seconds < best.seconds * (1 - TOLERANCE):
                best = found
    return best


def descend(lister: Lister, start: Schedule, priority: Sequence[float], deadline: float) -> Schedule:
    """Take the first move that helps, again and again."""
    current, moved = start, True
    with suppress(TimeUpError):
        while moved:
            moved = False
            for states in _moves(lister, current):
                check_time(deadline)
                tried = lister.schedule(priority, states)
                if tried.seconds < current.seconds * (1 - TOLERANCE):
                    current, moved = tried, True
                    break
    return current


def _moves(lister: Lister, schedule: Schedule) -> Iterator[list[int]]:
    """Yield placements in which a run of critical tasks, or a part of one, is in another state."""
    for run in _critical_runs(lister, schedule):
        for part in _parts(run):
            for state in _common_states(lister, part):
                if state != schedule.state[part[0]]:
                    states = list(schedule.state)
                    for task in part:
                        states[task] = state
                    yield states


def _critical_runs(lister: Lister, schedule: Schedule) -> list[list[int]]:
    """Return the tasks that make the makespan, last first, in runs on one device."""
    device = lister.rows.state_device
    task = max(range(len(schedule.end)), key=lambda one: schedule.end[one] + _way_home(lister, schedule, one))
    runs: list[list[int]] = []
    while task >= 0:
        if runs and device[schedule.state[runs[-1][-1]]] == device[schedule.state[task]]:
            runs[-1].append(task)
        else:
            runs.append([task])
        task = schedule.cause[task]
    return runs


def _way_home(lister: Lister, schedule: Schedule, task: int) -> float:
    """Return seconds until the last of its outputs of the model is at host."""
    rows = lister.rows
    home = [rows.to_host_s[t][schedule.state[task]] for t in lister.tasks.makes[task] if rows.is_output[t]]
    return max(home, default=0.0)


def _parts(run: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the whole run, its halves, quarters … and its single tasks."""
    width = len(run)
    while width >= 1:
        for begin in range(0, len(run), width):
            yield run[begin : begin + width]
        if width == 1:
            return
        width = (width + 1) // 2


def _common_states(lister: Lister, part: Sequence[int]) -> list[int]:
    """Return states worth trying that can run all of these tasks."""
    states = lister.tasks.states[part[0]]
    return [state for state in states if all(lister.tasks.seconds[task][state] < float("inf") for task in part)]


def _shaken(lister: Lister, states: Sequence[int], chance: random.Random) -> list[int]:
    """Some tasks in other states."""
    shaken = list(states)
    for _ in range(max(1, int(len(shaken) * SHAKEN))):
        task = chance.randrange(len(shaken))
        shaken[task] = chance.choice(lister.tasks.states[task])
    return shaken
