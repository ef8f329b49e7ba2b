"""The child process in which untrusted models are parsed, checked, inferred and loaded; see ``children.Children``.

Reads one JSON request from standard input, writes one JSON answer to standard output. The answer for a refused
model is ``{"error": message, "hint": hint}``; running out of memory is ``{"failure": "memory"}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mosaic_onnx.core.process.parent_death import die_with_parent

Request = Mapping[str, Any]


def check(request: Request) -> dict[str, object]:
    """Parse, walk, and run the ONNX checker on each of ``paths``.

    The answer holds for each its digest, whether it is sorted, and the bytes of its external data.
    """
    return {"models": [_check_one(Path(path), request["limits"]) for path in request["paths"]]}


def _check_one(path: Path, words: Mapping[str, Any]) -> dict[str, object]:
    import hashlib

    import onnx

    from mosaic_onnx.core.errors import ModelError
    from mosaic_onnx.core.graph.graphs import is_orderly
    from mosaic_onnx.loading.checker_workarounds import mend_for_checker
    from mosaic_onnx.loading.checks import Limits, check_parsed
    from mosaic_onnx.loading.files import parse_model, read_regular_file

    limits = Limits(**words)
    data = read_regular_file(path, limits.file_bytes)
    digest = hashlib.sha256(data).hexdigest()
    model = parse_model(data, path)
    del data
    try:
        external_bytes = check_parsed(model, path.parent, limits)
        orderly = is_orderly(model)
        if mend_for_checker(model, orderly):
            # Without a path the checker looks for external data in the current folder.
            os.chdir(path.parent)
            onnx.checker.check_model(model.SerializeToString())
        else:
            del model
            onnx.checker.check_model(os.fspath(path))
    except onnx.checker.ValidationError as error:
        hint = "the ONNX checker refuses it: export it again"
        raise ModelError(f"{path.name}: {_one_line(error)}", hint) from None
    except ModelError as error:
        raise ModelError(f"{path.name}: {error.message}", error.hint) from None
    return {"sha256": digest, "is_orderly": orderly, "external_bytes": external_bytes}


def load(request: Request) -> dict[str, object]:
    """Load the model in ONNX Runtime's CPU provider without optimising it; the answer holds its refusal, if any.

    External data lies in ``folder`` where the request names one, else beside the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        if "folder" in request:
            key = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(key, request["folder"])
            model: str | bytes = Path(request["path"]).read_bytes()
        else:
            model = request["path"]
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen classes with no common base
        return {"refusal": _one_line(error)}
    return {"refusal": None}


def types(request: Request) -> dict[str, object]:
    """Find types and shapes (``trial.find_types``); the value infos are written to the file ``target``."""
    from mosaic_onnx.loading.trial import find_types

    shapes = {name: tuple(shape) for name, shape in request["shapes"].items()}
    found = find_types(request["path"], shapes, request["symbols"], request["may_run"], request.get("folder"))
    Path(request["target"]).write_bytes(found.values.SerializeToString())
    return {"symbols": found.symbols, "seen_bytes": found.seen_bytes, "notes": found.notes}


JOBS: Mapping[str, Callable[[Request], dict[str, object]]] = {"check": check, "load": load, "types": types}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:2000]


def _limit(memory_limit_bytes: int) -> None:
    """Cap the address space and disable core files, where the system has such limits."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = memory_limit_bytes if hard == resource.RLIM_INFINITY else min(memory_limit_bytes, hard)
    with contextlib.suppress(ValueError, OSError):  # some systems have the limit and refuse to set it
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def main(parent: int | None = None) -> int:
    """Run the job that the request on standard input names; the answer goes to standard output.

    Args:
        parent: the process whose end is this one's; None for the one that the request names.
    """
    answer_file = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native libraries print to standard output, which must hold only the answer
    with os.fdopen(os.dup(0)) as request_file:
        told = json.load(request_file)
    die_with_parent(parent or told["parent"])
    _limit(told["memory_limit_bytes"])
    answer = _answer(told["job"], told["request"])
    with answer_file:
        json.dump(answer, answer_file)
    return 0


def _answer(job: str, request: Request) -> dict[str, object]:
    from mosaic_onnx.core.errors import ModelError

    try:
        return JOBS[job](request)
    except ModelError as error:
        return {"error": error.message, "hint": error.hint}
    except MemoryError:
        return {"failure": "memory"}


if __name__ == "__main__":
    sys.exit(main())
