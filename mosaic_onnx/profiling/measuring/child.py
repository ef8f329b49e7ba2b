"""The measuring child: ``python -m mosaic_onnx.profiling.measuring.child MODULE:NAME``. Parent: ``worker``.

The first line on standard input is the device. Each further line names the file of a request (a file, so that a child
that hangs never leaves its parent writing into a full pipe) and is answered by one line on the original standard
output. Native libraries print there too, so their descriptor is redirected at once.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from mosaic_onnx.core.errors import failure_line
from mosaic_onnx.isolation.messages import device_from_json, read_slice, read_tensors
from mosaic_onnx.profiling.machine import fingerprint
from mosaic_onnx.profiling.measuring.blobs import receive
from mosaic_onnx.profiling.measuring.meter import LocalMeter
from mosaic_onnx.profiling.measuring.slices import SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget

Json = Any


def answer(meter: LocalMeter, request: Mapping[str, Json]) -> Json:
    """Return the answer to one request, a JSON object; one with ``failure`` where an exception was raised."""
    try:
        return _ACTIONS[request["what"]](meter, request)
    except Exception as failure:  # every failure is reported to the parent
        return {"failure": failure_line(failure)}


def _probe(meter: LocalMeter, request: Mapping[str, Json]) -> Json:
    return dataclasses.asdict(meter.probe(read_slice(request["slice"])))


def _measure(meter: LocalMeter, request: Mapping[str, Json]) -> Json:
    inputs, expected = read_tensors(request["inputs"]), read_tensors(request["expected"])
    trial = SliceTrial(inputs, expected, TimeBudget(**request["budget"]))
    return dataclasses.asdict(meter.measure(read_slice(request["slice"]), trial))


def _kernels(meter: LocalMeter, request: Mapping[str, Json]) -> Json:
    inputs = read_tensors(request["inputs"])
    kernels = meter.kernels(read_slice(request["slice"]), inputs, TimeBudget(**request["budget"]))
    return {"kernels": [dataclasses.asdict(kernel) for kernel in kernels]}


def _energy(meter: LocalMeter, request: Mapping[str, Json]) -> Json:
    inputs = read_tensors(request["inputs"])
    return dataclasses.asdict(meter.energy(read_slice(request["slice"]), inputs, float(request["least_s"])))


def _copies(meter: LocalMeter, request: Mapping[str, Json]) -> Json:
    times = meter.copies(TimeBudget(**request["budget"]))
    return {"copies": None if times is None else dataclasses.asdict(times)}


def _machine(meter: LocalMeter, request: Mapping[str, Json]) -> Json:
    versions = meter.backend.find().versions
    return {"machine": fingerprint(), "versions": dict(versions)}


_ACTIONS: Mapping[str, Callable[[LocalMeter, Mapping[str, Json]], Json]] = {
    "probe": _probe,
    "measure": _measure,
    "kernels": _kernels,
    "energy": _energy,
    "copies": _copies,
    "machine": _machine,
}


def serve(address: str, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    module, _, name = address.partition(":")
    meter = LocalMeter(getattr(importlib.import_module(module), name), device_from_json(json.loads(next(requests))))
    for line in requests:
        request = json.loads(Path(line.strip()).read_text(encoding="utf-8"))
        answers.write(json.dumps(answer(meter, request)) + "\n")
        answers.flush()


def serve_remote(address: str, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests whose files travel with them (``blobs``), until there are no more."""
    module, _, name = address.partition(":")
    device = device_from_json(json.loads(requests.readline()))
    meter = LocalMeter(getattr(importlib.import_module(module), name), device)
    with tempfile.TemporaryDirectory(prefix="mosaic-measuring-") as folder:
        for line in requests:
            request = receive(line, requests, answers, Path(folder))
            answers.write(json.dumps(answer(meter, request)).encode() + b"\n")
            answers.flush()


def main() -> None:
    """Redirect the standard output of all other code, then serve."""
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if "--remote" in sys.argv[2:]:
        with os.fdopen(descriptor, "wb") as answers:
            serve_remote(sys.argv[1], sys.stdin.buffer, answers)
    else:
        with os.fdopen(descriptor, "w", encoding="utf-8") as private:
            serve(sys.argv[1], sys.stdin, private)


if __name__ == "__main__":
    main()
