"""The actions of a child with whole plans; its parent is ``child.ProgramChild``."""

from __future__ import annotations

import dataclasses
import time as clocks
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from mosaic_onnx.backends.base import Array, Backend, FoundDevices, Memory, Place, Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.files.plan_file import plan_from_json
from mosaic_onnx.isolation.child import Host
from mosaic_onnx.isolation.marks import Mark, Marks
from mosaic_onnx.isolation.messages import device_from_json, read_slice, read_tensors
from mosaic_onnx.profiling.interleaved import EarlyStop, InterleavedTimings, measure_interleaved
from mosaic_onnx.runtime.executor import Executor, open_program
from mosaic_onnx.runtime.trace import Trace


@dataclass(frozen=True)
class Rounds:
    """The limits of running plans in turn.

    Attributes:
        round_count: rounds that are wanted.
        budget_s: no round starts after it, but three always run.
        stop: when the comparison is decided earlier; None for never.
        repeat_count: runs of a plan in a round, of which the least counts.
    """

    round_count: int
    budget_s: float
    stop: EarlyStop | None = None
    repeat_count: int = 3


def measured(calls: Mapping[str, Callable[[], object]], rounds: Rounds) -> InterleavedTimings:
    """Time calls in turn."""
    return measure_interleaved(
        calls,
        round_count=rounds.round_count,
        repeat_count=rounds.repeat_count,
        warmup_count=min(2, rounds.repeat_count),
        budget_s=rounds.budget_s,
        stop=rounds.stop,
    )


Json = Any
Request = Mapping[str, Json]


def open(host: Host, request: Request) -> Json:
    """Load a plan."""
    devices = {device.name: device for device in map(device_from_json, request["devices"])}
    backends = {name: MarkedBackend(host.backend(name), host.marks) for name in {d.backend for d in devices.values()}}
    slices = [read_slice(each) for each in request["slices"]]
    names = {"inputs": tuple(request["inputs"]), "outputs": tuple(request["outputs"])}
    program = open_program(slices, plan_from_json(request["plan"]), devices, backends, **names)
    return {"number": host.keep(program)}


def open_session(host: Host, request: Request) -> Json:
    """Load a plan as a session, and run it once."""
    from mosaic_onnx.profiling.whole_plans.child import Machine, PlanToRun
    from mosaic_onnx.profiling.whole_plans.rates import session_of

    devices = {device.name: device for device in map(device_from_json, request["devices"])}
    backends = {name: MarkedBackend(host.backend(name), host.marks) for name in {d.backend for d in devices.values()}}
    slices = [read_slice(each) for each in request["slices"]]
    inputs = read_tensors(request["tensors"])
    session = session_of(
        PlanToRun(plan_from_json(request["plan"]), slices), Machine(devices, backends), inputs, request["outputs"]
    )
    session.run(inputs)
    return {"number": host.keep(session)}


def rates(host: Host, request: Request) -> Json:
    """Measure the requests a second of loaded sessions in turn."""
    from mosaic_onnx.profiling.whole_plans.rates import RateEffort, rates_in_turn

    sessions = {name: host.objects[number] for name, number in request["numbers"].items()}
    effort = RateEffort(request["round_count"], request["seconds"])
    return {"seconds": dict(rates_in_turn(sessions, read_tensors(request["tensors"]), effort).seconds)}


def first_run(host: Host, request: Request) -> Json:
    """Run a loaded plan once; the answer says how long that took."""
    began_s = clocks.perf_counter()
    host.objects[request["number"]].run(read_tensors(request["tensors"]))
    return {"seconds": clocks.perf_counter() - began_s}


def time(host: Host, request: Request) -> Json:
    """Time loaded plans in turn."""
    inputs = read_tensors(request["tensors"])
    programs: dict[str, Executor] = {name: host.objects[number] for name, number in request["numbers"].items()}
    calls = {name: (lambda program=program: program.run(inputs)) for name, program in programs.items()}
    stop = None if request["stop"] is None else EarlyStop(**request["stop"])
    timings = measured(calls, Rounds(request["round_count"], request["budget_s"], stop, request["repeat_count"]))
    return {"seconds": dict(timings.seconds), "repeat_count": timings.repeat_count}


def traces(host: Host, request: Request) -> Json:
    """Run a loaded plan and watch its slices."""
    effort = {key: request[key] for key in ("seconds", "min_runs", "max_runs")}
    watched = watch(host.objects[request["number"]], read_tensors(request["tensors"]), **effort)
    return {"traces": [dataclasses.asdict(trace) for trace in watched]}


def repeat(host: Host, request: Request) -> Json:
    """Time a number of runs of a loaded plan."""
    program, inputs = host.objects[request["number"]], read_tensors(request["tensors"])
    return {"seconds": run_repeatedly(program, inputs, request["warmup_count"], request["count"])}


def run_repeatedly(program: Executor, inputs: Mapping[str, Array], warmup_count: int, count: int) -> tuple[float, ...]:
    """Return the seconds of each of ``count`` runs, after some that are not timed."""
    for _ in range(warmup_count):
        program.run(inputs)
    seconds = []
    for _ in range(count):
        began_s = clocks.perf_counter()
        program.run(inputs)
        seconds.append(clocks.perf_counter() - began_s)
    return tuple(seconds)


def watch(program: Executor, inputs: Mapping[str, Array], seconds: float, min_runs: int, max_runs: int) -> list[Trace]:
    """Return the traces of as many runs as fit the time, within the limits."""
    watched: list[Trace] = []
    until = clocks.perf_counter() + seconds
    while len(watched) < max_runs and (len(watched) < min_runs or clocks.perf_counter() < until):
        watched.append(program.run_timed(inputs)[1])
    return watched


class MarkedBackend:
    """A backend whose every call to a vendor's code leaves a mark first."""

    def __init__(self, inner: Backend, marks: Marks) -> None:
        """Wrap a backend; optional parts of its contract, such as setting levels, are handed on."""
        self.inner = inner
        self.marks = marks
        for name in dir(inner):
            if not name.startswith("_") and not hasattr(self, name):
                setattr(self, name, getattr(inner, name))

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.inner.name

    def find(self) -> FoundDevices:
        """See ``Backend``."""
        return self.inner.find()

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """See ``Backend``."""
        return self.inner.supports(node, device)

    def load(self, model: SliceModel, device: Device) -> Runner:
        """See ``Backend``."""
        name = model.model.graph.name
        self.marks.set(self.marks.number(Mark(device.name, "load", name)))
        runner = self.inner.load(model, device)
        self.marks.set(0)
        running, closing = (self.marks.number(Mark(device.name, doing, name)) for doing in ("run", "close"))
        return _MarkedRunner(runner, self.marks, running, closing)

    def memory(self, device: Device) -> Memory | None:
        """See ``Backend``."""
        self.marks.set(self.marks.number(Mark(device.name, "load")))
        memory = self.inner.memory(device)
        self.marks.set(0)
        return memory


@dataclass(frozen=True)
class _MarkedRunner:
    inner: Runner
    marks: Marks
    running: int
    closing: int

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.marks.set(self.running)
        made = self.inner.run(inputs)
        self.marks.set(0)
        return made

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        self.marks.set(self.running)
        bound = self.inner.bind(inputs, outputs)
        self.marks.set(0)
        note, number = self.marks.set, self.running

        def call() -> None:
            note(number)
            bound()
            note(0)

        return call

    def assignment(self) -> Mapping[str, str] | None:
        return self.inner.assignment()

    def close(self) -> None:
        self.marks.set(self.closing)
        self.inner.close()
        self.marks.set(0)
