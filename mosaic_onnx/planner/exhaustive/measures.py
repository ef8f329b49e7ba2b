"""The numbers that a label carries beside its key: all that the rest of a plan's cost depends on.

All of it only grows, and growing any of it never makes a plan better, so a label that is nowhere above another one with
the same key makes that one needless. (The exceptions, in a concurrent schedule: where transfers or devices wait for one
another, first ready, first served, or slow each other, a later start may end earlier. Then no label makes another
needless.)

The parts, in this order: sums (seconds, joules, errors), loads of devices and links, when devices are free, the latest
end, arrival times of the live tensors, bytes on capped devices, numbers of slices that have a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.planner.core.lower_bounds import segment_floor
from mosaic_onnx.planner.core.objective_weights import LATENCY, Weights, weigh
from mosaic_onnx.planner.core.orders import successors
from mosaic_onnx.planner.core.request import TOLERANCE, Request
from mosaic_onnx.planner.core.simulate import together
from mosaic_onnx.planner.exhaustive.slice_options import SliceOption
from mosaic_onnx.planner.exhaustive.transfers import END, Effect

INF = float("inf")
Vector = tuple[float, ...]


class Criterion(NamedTuple):
    """A sum over a plan: ``seconds`` · seconds + ``joules`` · joules + ``error`` · errors, without idle power."""

    seconds: float
    joules: float
    error: float


class Figures(NamedTuple):
    """Figures of a plan, or lower bounds of them; 0 for those that the request does not ask about."""

    seconds: float
    joules: float
    largest_load_s: float
    error: float


@dataclass(frozen=True)
class Asked:
    """The figures that a request depends on."""

    seconds: bool
    joules: bool
    loads: bool
    error: bool
    timeline: bool
    """seconds are a makespan, not a sum"""

    @staticmethod
    def of(table: CostTable, request: Request) -> Asked:
        """Return what the request depends on."""
        joules = request.objective in ("energy", "edp") or request.budget_j is not None or request.pareto
        joules = joules and table.layer_j is not None
        in_seconds = request.objective in ("latency", "edp") or request.deadline_s is not None or request.pareto
        idle = joules and bool(table.idle_w.any())
        concurrent = request.schedule == "concurrent"
        return Asked(
            seconds=in_seconds or (idle and concurrent),
            joules=joules,
            loads=request.objective == "throughput",
            error=request.max_error is not None and table.layer_error is not None,
            timeline=concurrent and (in_seconds or idle),
        )


class Measures:
    """Extends the numbers of labels, bounds what may come of them, and reads figures off complete ones."""

    def __init__(self, table: CostTable, request: Request) -> None:
        self.table, self.rows, self.request = table, table.rows, request
        self.asked = Asked.of(table, request)
        self.idle_w = table.rows.idle_w
        self.device_count = len(table.device_names)
        self.criteria = self._criteria()
        self.capped = [d for d, cap in enumerate(self.rows.memory_bytes) if cap < INF]
        self.counted = self._counted()
        self.tail_count = 2 * len(self.capped) + len(self.counted)
        self.load_at = len(self.criteria)
        self.free_at = self.load_at + (self.device_count + len(table.link_names) if self.asked.loads else 0)
        self.arrival_at = self.free_at + (self.device_count + 1 if self.asked.timeline else 0)
        waiting = table.copies_occupy_device or table.link_names or table.slowdown or table.exclusive
        self.is_comparable = not (self.asked.timeline and waiting)
        self._least = self._least_sums()
        self._tail = self._tails()
        self._rest: dict[int, tuple[Vector, float]] = {}

    def _counted(self) -> list[tuple[int | None, float]]:
        """Return the limits on numbers of slices: of devices, and of the plan (None)."""
        limits = () if self.table.max_slice_count is None else self.table.max_slice_count.tolist()
        found: list[tuple[int | None, float]] = [(d, limit) for d, limit in enumerate(limits) if limit < INF]
        if self.request.max_slice_count is not None:
            found.append((None, self.request.max_slice_count))
        return found

    def _criteria(self) -> list[Criterion]:
        """Return the sums that labels carry: as few as the request allows."""
        asked, found = self.asked, []
        if asked.seconds and not asked.timeline:
            found.append(Criterion(1.0, 0.0, 0.0))
        if asked.joules:
            found.append(Criterion(0.0 if asked.timeline else self.idle_w, 1.0, 0.0))
        if asked.error:
            found.append(Criterion(0.0, 0.0, 1.0))
        return found

    def start(self, tensor_count: int) -> Vector:
        """Return the numbers before anything ran."""
        count = self.arrival_at + (tensor_count if self.asked.timeline else 0) + self.tail_count
        return (0.0,) * count

    def extend(
        self, vector: Vector, option: SliceOption, effect: Effect, device: int, switch: tuple[float, float]
    ) -> Vector | None:
        """Return the numbers after one more slice; None where its device's memory or number of slices is exceeded."""
        memory = list(vector[len(vector) - self.tail_count :]) if self.tail_count else []
        for number, (one, limit) in enumerate(self.counted, 2 * len(self.capped)):
            if one in (device, None):
                memory[number] += 1
                if memory[number] > limit:
                    return None
        if device in self.capped:
            at = 2 * self.capped.index(device)
            memory[at] += option.parameters
            memory[at + 1] = max(memory[at + 1], option.scratch)
            if memory[at] + memory[at + 1] > self.rows.memory_bytes[device]:
                return None
        seconds = option.seconds + effect.seconds + switch[0]
        joules = option.joules + effect.joules + switch[1]
        after = [
            have + one.seconds * seconds + one.joules * joules + one.error * option.error
            for have, one in zip(vector, self.criteria, strict=False)
        ]
        if self.asked.loads:
            loads = list(vector[self.load_at : self.free_at])
            loads[device] += option.seconds + switch[0]
            for one, extra in effect.loads:
                loads[one] += extra
            after += loads
        if self.asked.timeline:
            after += self._timeline(vector, option, effect, device, switch[0])
        return (*after, *memory)

    def _timeline(
        self, vector: Vector, option: SliceOption, effect: Effect, device: int, switch_s: float
    ) -> list[float]:
        """Free times, the latest end and the arrival times after one more slice."""
        times = list(vector[self.free_at : self.arrival_at])
        base = self.arrival_at
        start = times[device] + switch_s
        if self.table.exclusive:
            start = max(start, *(times[other] for other in self.table.exclusive[device]), 0.0)
        for index, late in effect.arrivals:
            start = max(start, vector[base + index] + late)
        end = start + option.seconds
        times[device] = end
        times[-1] = max(times[-1], end + effect.outputs_s)
        times += [(end if index == END else vector[base + index]) + late for index, late in effect.times]
        return times

    def figures(self, vector: Vector) -> Figures:
        """Return what a complete plan comes to."""
        return self._figures(vector, (0.0,) * len(self.criteria), 0.0, vector[self.arrival_at - 1] if vector else 0.0)

    def at_least(self, vector: Vector, done: int, tensors: tuple[tuple[int, int, int], ...]) -> Figures:
        """Return figures that no plan that goes on from a label falls below."""
        rest, rest_s = self._rest_after(done)
        latest = 0.0
        if self.asked.timeline:
            latest = vector[self.arrival_at - 1]
            free = vector[self.free_at : self.arrival_at - 1]
            latest = max(latest, (sum(free) + rest_s) / self.device_count)
            index = self.arrival_at
            for tensor, places, _ in tensors:
                count = places.bit_count()
                soonest = min(vector[index : index + count])
                index += count
                tail = max(self._tail[reader] for reader in self.table.consumers[tensor] if not done >> reader & 1)
                latest = max(latest, soonest + tail)
        return self._figures(vector, rest, rest_s, latest)

    def _figures(self, vector: Vector, rest: Vector, rest_s: float, latest: float) -> Figures:
        asked = self.asked
        sums = iter([have + more for have, more in zip(vector, rest, strict=False)][: len(self.criteria)])
        seconds = latest if asked.timeline else next(sums) if asked.seconds else 0.0
        joules = next(sums) if asked.joules else 0.0
        if asked.timeline:
            joules += self.idle_w * seconds
        error = next(sums) if asked.error else 0.0
        load = 0.0
        if asked.loads:
            loads = vector[self.load_at : self.free_at]
            loads = vector[self.load_at : self.free_at]
            on_devices, on_links = loads[: self.device_count], loads[self.device_count :]
            load = max([*together(self.table, on_devices), *on_links], default=0.0)
            if rest_s:
                load = max(load, (sum(on_devices) + rest_s) / max(self.device_count, 1))
        return Figures(seconds, joules, load, error)

    def value(self, figures: Figures) -> float:
        """Return the request's objective."""
        if self.request.objective == "throughput":
            return figures.largest_load_s
        if self.request.objective == "energy":
            return figures.joules
        return figures.seconds * figures.joules if self.request.objective == "edp" else figures.seconds

    def keeps_limits(self, figures: Figures) -> bool:
        """Return whether figures (or lower bounds of them) keep the request's limits."""
        request = self.request
        return (
            _keeps(figures.seconds, request.deadline_s)
            and _keeps(figures.joules, request.budget_j)
            and (not self.asked.error or _keeps(figures.error, request.max_error))
        )

    def _rest_after(self, done: int) -> tuple[Vector, float]:
        """Return the least that the layers not yet done add to each sum, and their least seconds of execution."""
        if done not in self._rest:
            left = [layer for layer in range(len(self.table.layer_names)) if not done >> layer & 1]
            sums = tuple(sum(least[layer] for layer in left) for least in self._least)
            self._rest[done] = sums, sum(self._least_s[layer] for layer in left)
        return self._rest[done]

    def _least_sums(self) -> list[list[float]]:
        table, found = self.table, []
        possible = np.isfinite(table.layer_s)
        floor = np.where(possible, segment_floor(table, weigh(table, LATENCY)), INF)
        self._least_s: list[float] = floor.min(axis=1, initial=INF).tolist()
        for one in self.criteria:
            if one.error:
                errors = np.where(possible, table.layer_error, INF) if table.layer_error is not None else floor * 0
                found.append(errors.min(axis=1).tolist())
            else:
                awake = Weights(one.seconds, one.joules)
                found.append(_floor_without_idle(table, awake).min(axis=1).tolist())
        return found

    def _tails(self) -> list[float]:
        """Return [L] seconds from the start of a layer to the end of the plan at least."""
        tail = [0.0] * len(self.table.layer_names)
        after = successors(self.table)
        for layer in range(len(tail) - 1, -1, -1):
            tail[layer] = self._least_s[layer] + max((tail[reader] for reader in after[layer]), default=0.0)
        return tail


def _floor_without_idle(table: CostTable, weights: Weights) -> Floats:
    """Return [L, S] least weighed cost of each layer in any slice; idle power is in the weights already."""
    awake = replace(table, idle_w=np.zeros_like(table.idle_w))
    return np.where(np.isfinite(table.layer_s), segment_floor(awake, weigh(awake, weights)), INF)


def _keeps(figure: float, limit: float | None) -> bool:
    return limit is None or figure <= limit * (1 + TOLERANCE)
