"""A plan loaded once and run many times, by any number of threads, several requests in flight."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import overload

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.graph.signature import TensorSpec
from mosaic_onnx.runtime.admission import Admission, InOrder, Outputs, Ticket
from mosaic_onnx.runtime.arguments import Feeds, OutputNames, read_arguments
from mosaic_onnx.runtime.guards import Incidents
from mosaic_onnx.runtime.opening import LoadedPlan
from mosaic_onnx.runtime.request_run import RequestRun, SliceOrder, slice_order
from mosaic_onnx.runtime.slot import Slot, checked_inputs
from mosaic_onnx.runtime.workers import Workers

WAITING_LIMIT = 64
"""Requests that wait for a slot, at most: a further ``run_async`` blocks until one has begun."""


@dataclass(frozen=True)
class Route:
    """One way through the devices: a copy of the plan, loaded.

    Attributes:
        loaded: its slices.
        slot_count: requests that may be on this way at once.
    """

    loaded: LoadedPlan
    slot_count: int

    @property
    def devices(self) -> tuple[str, ...]:
        """[slice] the device that runs it."""
        return tuple(each.device for each in self.loaded.slices)


@dataclass
class _Lane:
    """A route with its slots.

    Attributes:
        order: of its slices.
        devices: its devices, each once.
        free: slots that hold no request.
        busy_count: slots that hold one.
        can_borrow: its requests may run on the calling thread, one slice after the other.
        try_borrow: take all of its devices for the calling thread, if they are idle.
        give_back: end that.
    """

    order: SliceOrder
    devices: tuple[str, ...]
    free: list[Slot]
    can_borrow: bool
    try_borrow: Callable[[], bool]
    give_back: Callable[[], None]
    busy_count: int = 0


class Session:
    """A model ready to run.

    Any thread may call ``run`` and ``run_async``. A device runs one slice at a time; while nothing else is in flight,
    ``run`` works on the calling thread, otherwise each slice is a job of its device's worker, so that the slices of
    successive requests run at once on their devices. Results of one priority come in the order of their submission.
    Inputs must not be changed until their request is over; outputs belong to the caller.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        workers: Workers,
        *,
        owns_workers: bool = True,
        waiting_limit: int = WAITING_LIMIT,
        incidents: Incidents | None = None,
        on_close: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Make the slots of every route; ``mosaic_onnx.load`` is the usual way here.

        Args:
            routes: ways that compute the same; a request takes the one with the fewest requests.
            inputs: what the model takes.
            outputs: what the model gives.
            workers: of all devices of the routes; sessions that share devices share these.
            owns_workers: end them with the session.
            waiting_limit: requests that wait for a slot, at most.
            incidents: where failures that were survived are counted.
            on_close: called when the session is closed, the routes' runners being closed already.
        """
        self.incidents = incidents or Incidents()
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._names = tuple(one.name for one in outputs)
        self._wiring = routes[0].loaded.wiring
        self._workers = workers
        self._lanes = [_lane(route, workers) for route in routes]
        # runs without a slot, whose buffers it does not need; among several routes slots tell which of them is busy
        self._only = self._lanes[0].free[0].only if len(routes) == 1 else None
        self._admission = Admission(waiting_limit)
        self._in_order = InOrder()
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._stack = ExitStack()
        for give_back in on_close:
            self._stack.callback(give_back)
        for route in routes:
            self._stack.callback(route.loaded.close)
        if owns_workers:
            self._stack.callback(weakref.finalize(self, workers.close))

    # ---- running -----------------------------------------------------------------------------------------------------

    @overload
    def run(self, first: Feeds, feeds: None = None, run_options: None = None) -> Outputs: ...

    @overload
    def run(self, first: OutputNames, feeds: Feeds, run_options: None = None) -> list[Array]: ...

    def run(
        self, first: Feeds | OutputNames, feeds: Feeds | None = None, run_options: None = None
    ) -> Outputs | list[Array]:
        """Run once and wait: ``run(feeds)``, or ``run(output_names, feeds)`` as ONNX Runtime has it.

        Args:
            first: arrays by input name (the array alone where the model has one input); or names of outputs, None for
                all of them.
            feeds: the arrays, where names come first.
            run_options: taken for likeness; must be None.

        Returns:
            Arrays by output name; with names first, a list in their order.

        Raises:
            ModelError: an input is missing, unknown, or not of the model's type and shape.
            UsageError: the arguments do not fit, or a name is not an output.
            BackendError: a device failed, or the session was closed.
        """
        names, fed = read_arguments(first, feeds, run_options, self._inputs, self._names)
        fed = checked_inputs(fed, self._wiring)
        outputs = self._run_here(fed)
        if outputs is None:
            outputs = self._enter(fed, 0).result()
        return outputs if names is None else [outputs[name] for name in names]

    def run_async(
        self, first: Feeds | OutputNames, feeds: Feeds | None = None, *, priority: int = 0
    ) -> Future[Outputs]:
        """Submit a request: arguments and errors of ``run``; blocks while too many wait.

        Args:
            first: as in ``run``.
            feeds: as in ``run``.
            priority: lower goes first, wherever requests wait.

        Returns:
            A future of arrays by output name (those that were asked for); futures of one priority are done in the order
            of their submission. What is hung on it runs on a worker's thread, and must not wait for this session.
        """
        names, fed = read_arguments(first, feeds, None, self._inputs, self._names)
        fed = checked_inputs(fed, self._wiring)
        return self._enter(fed, priority, names)

    def _run_here(self, inputs: Mapping[str, Array]) -> Outputs | None:
        """Run on the calling thread if nothing else is in flight; None where that is not so."""
        lane = self._lanes[0]
        if not lane.can_borrow or self._admission.waiting_count or not lane.try_borrow():
            return None
        if self._only is not None:
            try:
                return None if self._admission.is_closed else self._only.run(inputs)
            finally:
                lane.give_back()
        slot = None
        try:
            with self._lock:
                if lane.free and not self._admission.is_closed:
                    slot = lane.free.pop()
                    lane.busy_count += 1
            return None if slot is None else slot.run(inputs)
        finally:
            lane.give_back()
            if slot is not None:
                self._free(lane, slot)

    def _enter(self, inputs: Mapping[str, Array], priority: int, names: Sequence[str] | None = None) -> Future[Outputs]:
        ticket = self._admission.enter(inputs, self._names if names is None else tuple(names), priority)
        self._start_waiting()
        return ticket.future

    def _start_waiting(self) -> None:
        """Let requests begin as long as there are slots for them."""
        while True:
            with self._lock:
                lane = min((each for each in self._lanes if each.free), key=lambda each: each.busy_count, default=None)
                ticket = None if lane is None else self._admission.next()
                if lane is None or ticket is None:
                    return
                slot = lane.free.pop()
                lane.busy_count += 1
            self._start(lane, slot, ticket)

    def _start(self, lane: _Lane, slot: Slot, ticket: Ticket) -> None:
        if not ticket.future.set_running_or_notify_cancel():
            self._end(lane, slot, ticket, None, None)
            return
        inputs, ticket.inputs = ticket.inputs, {}
        run = RequestRun(
            lane.order,
            slot.program.steps,
            self._workers,
            lambda over: self._over(lane, slot, ticket, over),
            number=self._workers.next_number(),
            priority=ticket.priority,
            begin=lambda: slot.take(inputs),
        )
        run.start()

    def _over(self, lane: _Lane, slot: Slot, ticket: Ticket, run: RequestRun) -> None:
        """Take a request's outputs and let the next one have its slot; on a worker's thread."""
        error, outputs = run.error, None
        if error is None:
            try:
                outputs = slot.give()
            except BaseException as raised:
                error = raised
        self._end(lane, slot, ticket, outputs, error)
        self._start_waiting()

    def _end(
        self, lane: _Lane, slot: Slot, ticket: Ticket, outputs: Outputs | None, error: BaseException | None
    ) -> None:
        with self._lock:
            lane.free.append(slot)
            lane.busy_count -= 1

        def hand_out() -> None:
            try:
                if error is not None:
                    ticket.future.set_exception(error)
                elif outputs is not None:
                    ticket.future.set_result({name: outputs[name] for name in ticket.names})
            finally:
                self._admission.finish()

        self._in_order.deliver(ticket, hand_out)

    def _free(self, lane: _Lane, slot: Slot) -> None:
        with self._lock:
            lane.free.append(slot)
            lane.busy_count -= 1
        if self._admission.waiting_count:
            self._start_waiting()

    # ---- what it is made of ------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs."""
        return self._outputs

    def get_inputs(self) -> list[TensorSpec]:
        """As ``inputs``, by ONNX Runtime's name."""
        return list(self._inputs)

    def get_outputs(self) -> list[TensorSpec]:
        """As ``outputs``, by ONNX Runtime's name."""
        return list(self._outputs)

    @property
    def in_flight_limit(self) -> int:
        """Requests that can be under way at once, all routes together; further ones wait."""
        return sum(len(lane.free) + lane.busy_count for lane in self._lanes)

    def close(self) -> None:
        """Finish what was submitted, then give threads and memory back; calling it twice is harmless."""
        with self._closing:
            self._admission.close()
            self._stack.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lane(route: Route, workers: Workers) -> _Lane:
    loaded = route.loaded
    order = slice_order(route.devices, loaded.wiring.needs, concurrent=loaded.is_concurrent)
    devices = tuple(dict.fromkeys(route.devices))
    slots = [Slot(loaded.slices, loaded.wiring) for _ in range(route.slot_count)]
    if not slots:
        raise BackendError("a route without slots runs nothing")
    can_borrow = not loaded.is_concurrent or len(devices) == 1
    if len(devices) == 1:
        only = workers[devices[0]]
        return _Lane(order, devices, slots, can_borrow, only.try_borrow, only.give_back)
    return _Lane(
        order, devices, slots, can_borrow, lambda: workers.try_borrow(devices), lambda: workers.give_back(devices)
    )
