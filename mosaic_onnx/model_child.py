"""The child process in which untrusted models are parsed, checked, inferred and loaded; see ``children.run_child``.

Reads one JSON request from standard input, writes one JSON answer to standard output. A job's answer for a model that
must be refused is ``{"error": message, "hint": hint}``; running out of memory is ``{"failure": "memory"}``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Request = Mapping[str, Any]


def check(request: Request) -> dict[str, object]:
    """Parse, walk, and run the ONNX checker. Answers with the file's digest and whether its nodes are sorted."""
    import hashlib

    import onnx

    from mosaic_onnx.graphs import is_orderly
    from mosaic_onnx.model_checks import Limits, check_parsed
    from mosaic_onnx.model_files import parse_model, read_regular_file

    path = Path(request["path"])
    data = read_regular_file(path, request["limits"]["file_bytes"])
    digest = hashlib.sha256(data).hexdigest()
    model = parse_model(data, path)
    del data
    external_bytes = check_parsed(model, path.parent, Limits(**request["limits"]))
    orderly = is_orderly(model)
    mended = _mend_for_checker(model, orderly)
    try:
        if mended:
            # Without a path the checker looks for external data in the current folder.
            os.chdir(path.parent)
            onnx.checker.check_model(model.SerializeToString())
        else:
            del model
            onnx.checker.check_model(os.fspath(path))
    except onnx.checker.ValidationError as error:
        return {"error": _one_line(error), "hint": "the ONNX checker refuses it: export it again"}
    return {"sha256": digest, "is_orderly": orderly, "external_bytes": external_bytes}


_RUNTIME_OPERATORS = frozenset(
    [
        "Affine",
        "Crop",
        "DynamicSlice",
        "GivenTensorFill",
        "ImageScaler",
        "ParametricSoftplus",
        "Scale",
        "ScaledTanh",
        "LayerNormalization",
        "SimplifiedLayerNormalization",
    ]
)
"""Operators that ONNX Runtime keeps in ONNX's own domain though no operator set has them (or not that early)."""


def _mend_for_checker(model: Any, orderly: bool) -> bool:
    """Change what the checker refuses though runtimes take it, in this child's copy; says whether it did.

    Nodes out of order, graph outputs of unknown rank or type, value infos without a type, and ONNX Runtime's own
    domains and operators without an import: all of them stand in real exports.
    """
    from mosaic_onnx.graphs import put_in_order

    if not orderly:
        put_in_order(model)
    mended = [not orderly, _mend_values(model.graph), _mend_operators(model)]
    return any(mended)


def _mend_values(graph: Any) -> bool:
    """Give graph values the type fields that the checker wants; leave out value infos without a type."""
    mended = False
    for value in graph.output:
        if not value.type.WhichOneof("value"):
            value.type.tensor_type.elem_type = 1
    for value in (*graph.input, *graph.output):
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
            mended = True
    typed = [value for value in graph.value_info if value.type.WhichOneof("value")]
    if len(typed) < len(graph.value_info):
        kept = [type(value).FromString(value.SerializeToString()) for value in typed]
        del graph.value_info[:]
        graph.value_info.extend(kept)
        mended = True
    return mended


def _mend_operators(model: Any) -> bool:
    """Move ONNX Runtime's own operators into its domain, and import that where it is used."""
    import onnx

    from mosaic_onnx.graphs import domain_of, every_node
    from mosaic_onnx.model_checks import RUNTIME_DOMAINS

    versions = {domain_of(entry.domain): entry.version for entry in model.opset_import}
    needed: set[str] = set()
    mended = False
    for node in every_node(model.graph.node):
        domain = domain_of(node.domain)
        if domain == "" and node.op_type in _RUNTIME_OPERATORS:
            if not onnx.defs.has(node.op_type, versions.get("", 1), ""):
                node.domain, mended = "com.microsoft", True
                needed.add("com.microsoft")
        elif domain in RUNTIME_DOMAINS:
            needed.add(domain)
    for domain in sorted(needed - set(versions)):
        model.opset_import.add(domain=domain, version=1)
        mended = True
    return mended


def load(request: Request) -> dict[str, object]:
    """Load the model in ONNX Runtime's CPU provider without optimising it; answers with its refusal, if any."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(request["path"], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen classes with no common base
        return {"refusal": _one_line(error)}
    return {"refusal": None}


def infer(request: Request) -> dict[str, object]:
    """Infer types and shapes of the model file ``path`` and write the model with them to ``target``."""
    import onnx

    model = onnx.load_model(request["path"], load_external_data=False)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=bool(request["data_prop"]))
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as error:
        return {"error": _one_line(error), "hint": ""}
    Path(request["target"]).write_bytes(inferred.SerializeToString())
    return {}


JOBS: Mapping[str, Callable[[Request], dict[str, object]]] = {"check": check, "load": load, "infer": infer}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:2000]


def _limit(memory_limit_bytes: int) -> None:
    """Cap the address space and write no core files, where the system has such limits."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = memory_limit_bytes if hard == resource.RLIM_INFINITY else min(memory_limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def main() -> int:
    """Run the job named on the command line."""
    from mosaic_onnx.errors import ModelError

    answer_file = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native libraries print to standard output; the answer must stay alone
    request = json.load(sys.stdin)
    _limit(request["memory_limit_bytes"])
    try:
        answer = JOBS[sys.argv[1]](request)
    except ModelError as error:
        answer = {"error": error.message, "hint": error.hint}
    except MemoryError:
        answer = {"failure": "memory"}
    with answer_file:
        json.dump(answer, answer_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
