"""Opening untrusted model files; all files of models are opened here.

The order in which a file is opened: a regular file under the size cap; then, in a child process under limits of time
and memory, parsed without its external data, walked by our own checks (``loading.checks``) and given to the ONNX
checker; only a file that passed all checks, and still has the same bytes, is parsed in this process. External data is
not read.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import (
    FunctionKey,
    call_key,
    domain_of,
    every_node,
    function_key,
    is_orderly,
    node_keys,
    operator_name,
)
from mosaic_onnx.loading.checks import ONNX_DOMAINS, Limits
from mosaic_onnx.loading.children import ChildFailure, Children
from mosaic_onnx.loading.files import parse_model, read_regular_file

__all__ = [
    "Limits",
    "OpenedModel",
    "custom_operators",
    "loads_in_runtime",
    "node_keys",
    "open_model",
    "open_models",
    "runtime_accepts",
]

_UNNAMED = re.compile(r"Node \(\) Op \((\w+)\)")


@dataclass(frozen=True)
class OpenedModel:
    """A model that passed every check.

    Attributes:
        model: as in the file (node order, names, metadata); external tensors still external.
        path: the file, absolute.
        folder: where its external data lies, absolute.
        sha256: digest of the model file (external data not included).
        is_orderly: all its nodes are in topological order, and no constant is defined twice.
        external_bytes: bytes of its external data.
        is_rewritten: ``model`` is no longer what the file holds.
    """

    model: onnx.ModelProto
    path: Path
    folder: Path
    sha256: str
    is_orderly: bool = True
    external_bytes: int = 0
    is_rewritten: bool = False

    def rewritten(self, model: onnx.ModelProto) -> OpenedModel:
        """Return the model as somebody rewrote it; its external data stays where it is.

        Args:
            model: what takes the place of the file's own.
        """
        digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
        return replace(self, model=model, sha256=digest, is_orderly=is_orderly(model), is_rewritten=True)

    def file_in(self, folder: Path) -> Path:
        """Return a file that holds the model: its own, or one that is written into ``folder``."""
        if not self.is_rewritten:
            return self.path
        path = folder / self.path.name
        path.write_bytes(self.model.SerializeToString())
        return path


def open_model(
    path: str | os.PathLike[str], limits: Limits | None = None, children: Children | None = None
) -> OpenedModel:
    """Open an untrusted model file.

    Nodes may be out of topological order: runtimes accept such files, and ``normalise`` sorts them.

    Args:
        path: the ``.onnx`` file; external data must lie in its folder or below.
        limits: caps on memory, time and size.
        children: a child of theirs checks it.

    Raises:
        ModelError: it is refused; the message names the file and the fault.
    """
    return open_models([path], limits, children)[0]


def open_models(
    paths: Sequence[str | os.PathLike[str]], limits: Limits | None = None, children: Children | None = None
) -> tuple[OpenedModel, ...]:
    """Open several files, checked in one child process; see ``open_model``.

    Raises:
        ModelError: one of them is refused; the message names the file and the fault.
    """
    limits = limits or Limits()
    files = [Path(os.path.abspath(path)) for path in paths]
    # Read first: the cheapest refusals need no child, and the bytes are compared with those that the child read.
    contents = [read_regular_file(file, limits.file_bytes) for file in files]
    size = sum(map(len, contents))
    request = {"paths": [str(file) for file in files], "limits": asdict(limits)}
    try:
        time_limit_s = limits.time_limit_s(size, limits.check_s)
        answer = (children or Children()).run("check", request, time_limit_s, limits.memory_bytes + 3 * size)
    except ChildFailure as failure:
        raise _refusal(files[0], "checking it", failure) from None
    if "error" in answer:
        raise ModelError(str(answer["error"]), str(answer.get("hint", "")))
    checked: Any = answer["models"]
    return tuple(_opened(file, data, one) for file, data, one in zip(files, contents, checked, strict=True))


def _opened(file: Path, data: bytes, checked: Mapping[str, Any]) -> OpenedModel:
    """Parse the file that the child checked, if its bytes are still the same."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != checked["sha256"]:
        raise ModelError(f"{file.name} changed while it was being opened", "try again when nothing writes it")
    model = parse_model(data, file)
    return OpenedModel(model, file, file.parent, digest, checked["is_orderly"], checked["external_bytes"])


def runtime_accepts(opened: OpenedModel, limits: Limits | None = None, children: Children | None = None) -> str | None:
    """Return whether ONNX Runtime's CPU provider loads the whole model; tried in a child process.

    Args:
        opened: the model.
        limits: caps on memory and time.
        children: a child of theirs loads it.

    Returns:
        None if it does, else its reason, which names node and operator.
    """
    if opened.is_rewritten:
        return loads_in_runtime(opened.model, opened.folder, opened.external_bytes, limits, children)
    limits = limits or Limits()
    refusal = _load_refusal({"path": str(opened.path)}, opened.path, opened.external_bytes, limits, children)
    return None if refusal is None else _named_nodes(refusal, opened.model)


def loads_in_runtime(
    model: onnx.ModelProto,
    folder: Path,
    external_bytes: int = 0,
    limits: Limits | None = None,
    children: Children | None = None,
) -> str | None:
    """Return None if ONNX Runtime loads a model in memory, else the reason.

    Args:
        model: any model.
        folder: where its external data lies.
        external_bytes: the bytes of that data.
        limits: caps on memory and time.
        children: a child of theirs loads it.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="mosaic-") as temporary:
        path = Path(temporary) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return _load_refusal({"path": str(path), "folder": str(folder)}, path, external_bytes, limits, children)


def _load_refusal(
    request: dict[str, object], path: Path, external_bytes: int, limits: Limits, children: Children | None
) -> str | None:
    """Ask the child process to load a model."""
    size = path.stat().st_size
    time_limit_s = limits.time_limit_s(size, limits.load_s, external_bytes)
    try:
        memory_limit_bytes = limits.memory_bytes + 4 * (size + external_bytes)
        answer = (children or Children()).run("load", request, time_limit_s, memory_limit_bytes)
    except ChildFailure as failure:
        return _refusal(path, "loading it in ONNX Runtime", failure).message
    refusal = answer.get("refusal", answer.get("error"))
    return None if refusal is None else _runtime_words(str(refusal), path)


def _named_nodes(words: str, model: onnx.ModelProto) -> str:
    """Return ONNX Runtime's words with a node's first output where they name it by an operator that no other has."""
    found = _UNNAMED.search(words)
    alike = [node for node in model.graph.node if found and node.op_type == found[1] and not node.name]
    if found is None or len(alike) != 1:
        return words
    return words.replace("Node ()", f"Node (%{next(iter(alike[0].output), '')})", 1)


def custom_operators(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Return the operators outside ONNX's domains that the model does not define as functions, with their nodes.

    Returns:
        ``domain::op`` → names of nodes (first output where a node has no name), nodes in subgraphs included.
    """
    known: set[FunctionKey] = {function_key(function) for function in model.functions}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    found: dict[str, list[str]] = {}
    for nodes in bodies:
        for node in every_node(nodes):
            if domain_of(node.domain) not in ONNX_DOMAINS and call_key(node) not in known:
                word = node.name or "%" + next((name for name in node.output if name), "")
                found.setdefault(operator_name(node), []).append(word)
    return {operator: tuple(nodes) for operator, nodes in found.items()}


def _refusal(file: Path, doing: str, failure: ChildFailure) -> ModelError:
    """Return the error for a child process that ended without an answer."""
    if failure.kind == "time":
        return ModelError(f"{file.name}: {doing} was {failure.detail}", "it may be made to hang its reader")
    if failure.kind == "memory":
        return ModelError(f"{file.name}: {doing} needs {failure.detail}", "it may be made to fill memory")
    return ModelError(f"{file.name}: {doing} ended the child process ({failure.detail})", "the file may be malicious")


def _runtime_words(text: str, path: Path) -> str:
    """Return ONNX Runtime's message without its number and without the folder."""
    words = text.replace(str(path), path.name)
    parts = words.split(" : ", 3)
    return parts[3] if len(parts) == 4 and parts[0].startswith("[ONNXRuntimeError]") else words
