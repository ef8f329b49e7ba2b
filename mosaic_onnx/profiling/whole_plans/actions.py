"""The actions of a child with whole plans; its parent is ``child.ProgramChild``."""

from __future__ import annotations

import dataclasses
import time as clocks
from collections.abc import Mapping
from typing import Any

from mosaic_onnx.files.plan_file import plan_from_json
from mosaic_onnx.isolation.child import Host
from mosaic_onnx.isolation.messages import device_from_json, read_slice, read_tensors
from mosaic_onnx.profiling.interleaved import EarlyStop
from mosaic_onnx.profiling.whole_plans.loaded_plans import measured, rates_in_turn, run_repeatedly, session_of, watch
from mosaic_onnx.profiling.whole_plans.marked_backend import MarkedBackend
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, RateEffort, Rounds
from mosaic_onnx.runtime.executor import Executor, open_program

Json = Any
Request = Mapping[str, Json]


def open(host: Host, request: Request) -> Json:
    """Load a plan."""
    one, machine = _plan_and_machine(host, request)
    names = {"inputs": tuple(request["inputs"]), "outputs": tuple(request["outputs"])}
    return {"number": host.keep(open_program(one.slices, one.plan, machine.devices, machine.backends, **names))}


def open_session(host: Host, request: Request) -> Json:
    """Load a plan as a session, and run it once."""
    inputs = read_tensors(request["tensors"])
    session = session_of(*_plan_and_machine(host, request), inputs, request["outputs"])
    session.run(inputs)
    return {"number": host.keep(session)}


def _plan_and_machine(host: Host, request: Request) -> tuple[PlanToRun, Machine]:
    """Return the plan of a request, and the devices that run it here, each under watch."""
    devices = {device.name: device for device in map(device_from_json, request["devices"])}
    backends = {name: MarkedBackend(host.backend(name), host.marks) for name in {d.backend for d in devices.values()}}
    slices = [read_slice(each) for each in request["slices"]]
    return PlanToRun(plan_from_json(request["plan"]), slices), Machine(devices, backends)


def rates(host: Host, request: Request) -> Json:
    """Measure the requests a second of loaded sessions in turn."""
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
    rounds = Rounds(request["round_count"], request["budget_s"], stop, request["repeat_count"], request["repeat_s"])
    timings = measured(calls, rounds)
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
