"""The actions of a measuring child; its parent is ``worker.ChildMeter``.

Each action takes the child's ``Host`` and a request, and returns its answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mosaic_onnx.isolation.child import Host
from mosaic_onnx.isolation.messages import device_from_json, read_slice, read_tensors
from mosaic_onnx.profiling.machine import fingerprint
from mosaic_onnx.profiling.measuring.meter import LocalMeter
from mosaic_onnx.profiling.measuring.slices import SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget

Json = Any
Request = Mapping[str, Json]


def probe(host: Host, request: Request) -> Json:
    """Compile a slice."""
    return dataclasses.asdict(_meter(host, request).probe(read_slice(request["slice"])))


def measure(host: Host, request: Request) -> Json:
    """Compile, run, compare and time a slice."""
    return dataclasses.asdict(_meter(host, request).measure(read_slice(request["slice"]), _trial(request)))


def measure_with_kernels(host: Host, request: Request) -> Json:
    """Compile a slice once; run, compare and time it and its kernels."""
    measured, found = _meter(host, request).measure_with_kernels(read_slice(request["slice"]), _trial(request))
    return {**dataclasses.asdict(measured), "kernels": [dataclasses.asdict(kernel) for kernel in found]}


def _trial(request: Request) -> SliceTrial:
    inputs, expected = read_tensors(request["inputs"]), read_tensors(request["expected"])
    return SliceTrial(inputs, expected, TimeBudget(**request["budget"]))


def kernels(host: Host, request: Request) -> Json:
    """Time the kernels of a slice."""
    inputs = read_tensors(request["inputs"])
    found = _meter(host, request).kernels(read_slice(request["slice"]), inputs, TimeBudget(**request["budget"]))
    return {"kernels": [dataclasses.asdict(kernel) for kernel in found]}


def energy(host: Host, request: Request) -> Json:
    """Measure the joules of one run of a slice."""
    inputs = read_tensors(request["inputs"])
    found = _meter(host, request).energy(read_slice(request["slice"]), inputs, float(request["least_s"]))
    return dataclasses.asdict(found)


def copies(host: Host, request: Request) -> Json:
    """Time copies to and from the device's memory."""
    times = _meter(host, request).copies(TimeBudget(**request["budget"]))
    return {"copies": None if times is None else dataclasses.asdict(times)}


def machine(host: Host, request: Request) -> Json:
    """Return the facts of the machine and the versions of its runtimes."""
    device = device_from_json(request["device"])
    return {"machine": fingerprint(), "versions": dict(host.backend(device.backend).find().versions)}


def _meter(host: Host, request: Request) -> LocalMeter:
    device = device_from_json(request["device"])
    return LocalMeter(host.backend(device.backend), device)
