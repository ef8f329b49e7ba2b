"""A child that runs vendors' code: ``python -m mosaic_onnx.isolation.child``. Its parent is ``process.ChildProcess``.

The first line on standard input sets it up. Each further line is a request, or the name of a file that holds one, and
is answered by one line on the original standard output. Native libraries print there too, so that descriptor is taken
away from them at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from mosaic_onnx.backends.base import Backend, Preloads
from mosaic_onnx.core.errors import DeviceError, MosaicError, UsageError, failure_line
from mosaic_onnx.core.process.parent_death import die_with_parent
from mosaic_onnx.isolation.limits import limit_memory
from mosaic_onnx.isolation.marks import Marks

Json = Any
_PACKAGE = "mosaic_onnx."


@dataclass
class Host:
    """The state that the actions of a child share.

    Attributes:
        addresses: ``module:NAME`` by backend.
        marks: where it says what it is doing.
        objects: what earlier requests made, by number.
    """

    addresses: Mapping[str, str]
    marks: Marks
    objects: dict[int, Any] = field(default_factory=dict)
    _made_count: int = 0

    def backend(self, name: str) -> Backend:
        """Return a backend, imported at its first use."""
        module, _, attribute = self.addresses[name].partition(":")
        backend: Backend = getattr(importlib.import_module(module), attribute)
        return backend

    def keep(self, made: object) -> int:
        """Return a number under which later requests find something."""
        self._made_count += 1
        self.objects[self._made_count] = made
        return self._made_count

    def forget(self) -> None:
        """Close what earlier requests made."""
        while self.objects:
            self.objects.popitem()[1].close()


def set_up(words: Mapping[str, Json]) -> Host:
    """Take on the limits that the parent's first line states, and return what its actions work with."""
    if words["parent"] is not None:
        die_with_parent(words["parent"])
    limit_memory(words["memory_limit_bytes"])
    for name in words["imports"]:
        importlib.import_module(name)
    host = Host(words["backends"], Marks.open(Path(words["marks"])) if words["marks"] else Marks.none())
    for name in words["preload"]:
        with contextlib.suppress(Exception):
            backend = host.backend(name)
            if isinstance(backend, Preloads):
                backend.preload()
    return host


def answer(host: Host, request: Mapping[str, Json]) -> Json:
    """Return the answer to one request: a JSON object, with ``failure`` in place of it where something was raised."""
    try:
        module, _, name = str(request["action"]).partition(":")
        if not module.startswith(_PACKAGE):
            return {"failure": f"{module} is not a module of this package"}
        return getattr(importlib.import_module(module), name)(host, request)
    except MemoryError:
        return {"failure": "it takes more memory than its process may have"}
    except UsageError as failure:  # the device's options are wrong: no layer's fault
        return {"failure": failure_line(failure), "hint": failure.hint, "is_usage": True}
    except Exception as failure:  # whatever it is, the parent must hear of it
        hint = failure.hint if isinstance(failure, MosaicError) else ""
        device = failure.device if isinstance(failure, DeviceError) else ""
        return {"failure": failure_line(failure), "hint": hint, "device": device}
    finally:
        host.marks.set(0)


def serve(host: Host, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        text = line if line.startswith("{") else Path(line.strip()).read_text(encoding="utf-8")
        answers.write(json.dumps(answer(host, json.loads(text))) + "\n")
        answers.flush()


def main() -> None:
    """Take standard output away from everyone else, take on the limits, then serve."""
    private = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(set_up(json.loads(next(sys.stdin))), sys.stdin, private)


if __name__ == "__main__":
    main()
