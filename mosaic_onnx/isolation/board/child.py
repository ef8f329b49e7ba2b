"""The child on another machine: ``python -m mosaic_onnx.isolation.board.child``; its parent is ``BoardProcess``.

It answers the same requests as a child here (``isolation.child``), with files that travel with them (``blobs``), and
actions of its own for running slices, whose tensors travel inside the messages.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import onnx

from mosaic_onnx.backends.base import Runner
from mosaic_onnx.isolation.board.blobs import arrays_from_json, arrays_to_json, receive
from mosaic_onnx.isolation.child import Host, answer, set_up
from mosaic_onnx.isolation.messages import device_from_json, read_slice

Json = Any
Request = Mapping[str, Json]


def claims(host: Host, request: Request) -> Json:
    """Return a device's claims: for each node, why it may not have it."""
    device = device_from_json(request["device"])
    backend = host.backend(device.backend)
    nodes = onnx.GraphProto.FromString(Path(request["nodes"]["path"]).read_bytes()).node
    return {"reasons": [backend.supports(node, device) for node in nodes]}


def load(host: Host, request: Request) -> Json:
    """Load a slice; the answer names it, and says which provider runs each node."""
    device = device_from_json(request["device"])
    runner = host.backend(device.backend).load(read_slice(request["slice"]), device)
    assigned = runner.assignment()
    return {"number": host.keep(runner), "assignment": None if assigned is None else dict(assigned)}


def run(host: Host, request: Request) -> Json:
    """Run a loaded slice."""
    runner: Runner = host.objects[request["number"]]
    return {"arrays": arrays_to_json(runner.run(arrays_from_json(request["arrays"])))}


def close(host: Host, request: Request) -> Json:
    """Close a loaded slice."""
    runner: Runner = host.objects.pop(request["number"])
    runner.close()
    return {}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    host = set_up(json.loads(requests.readline()))
    with tempfile.TemporaryDirectory(prefix="mosaic-board-") as folder:
        for line in requests:
            request = receive(line, requests, answers, Path(folder))
            answers.write(json.dumps(answer(host, request)).encode() + b"\n")
            answers.flush()


def main() -> None:
    """Take standard output away from everyone else, then serve the other machine."""
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(descriptor, "wb") as answers:
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
