"""The first checks of an untrusted model: names, scopes, operator sets, calls, tensors.

They run before ``onnx.checker``, which hangs on function-call bombs and misses some classes of attack, and look
only at the parsed message and at the size of external files, never at their contents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import (
    FunctionKey,
    call_key,
    domain_of,
    function_key,
    initializer_names,
    operator_name,
    sort_nodes,
    subgraphs,
    superseded_constants,
)
from mosaic_onnx.core.graph.topological import order_by_sources
from mosaic_onnx.loading.node_checks import check_node_names
from mosaic_onnx.loading.tensors import TensorChecker

RUNTIME_DOMAINS = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
"""Domains that ONNX Runtime knows without an import; real exports omit the import."""
ONNX_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training"})


@dataclass(frozen=True)
class Limits:
    """Limits on the memory and time that an untrusted model may take.

    Attributes:
        file_bytes: cap on the model file (external data not counted); protobuf itself ends at 2 GiB.
        expanded_node_count: cap on the nodes after every function call is replaced by its body.
        depth_count: cap on the nesting of subgraphs and function calls together.
        name_bytes: cap on each name.
        memory_bytes: cap on the checking child's memory beyond three times the file.
        check_s: time limit of the checks; large files get more (see ``time_limit_s``).
        load_s: time limit of loading in ONNX Runtime.
        trial_s: time limit of shape inference with its trial runs.
    """

    file_bytes: int = 2**31 - 1
    expanded_node_count: int = 1_000_000
    depth_count: int = 64
    name_bytes: int = 4096
    memory_bytes: int = 6 * 2**30
    check_s: float = 25.0
    load_s: float = 25.0
    trial_s: float = 12.0

    def time_limit_s(self, file_bytes: int, limit_s: float, external_bytes: int = 0) -> float:
        """Return the time limit for a file of that size: one more second per MB, which may hold ten thousand nodes.

        External data, which is only read, adds a second for each 20 MB.
        """
        return limit_s + file_bytes / 1e6 + external_bytes / 20e6


@dataclass
class _Body:
    """The nodes of one graph or function with its subgraphs, and its calls with their depth."""

    node_count: int = 0
    depth: int = 0
    calls: list[tuple[FunctionKey, int]] = field(default_factory=list)


@dataclass
class _Walk:
    """State of one walk; ``defined`` is a stack of the names visible in each enclosing scope."""

    limits: Limits
    tensors: TensorChecker
    functions: frozenset[FunctionKey]
    imports: dict[str, int] = field(default_factory=dict)
    attributes: frozenset[str] | None = None
    defined: list[set[str]] = field(default_factory=list)
    body: _Body = field(default_factory=_Body)


def check_parsed(model: onnx.ModelProto, folder: Path, limits: Limits) -> int:
    """Check the whole model; raise ``ModelError`` at the first fault.

    Args:
        model: parsed without external data.
        folder: where its external data must lie.
        limits: caps on memory, time and size.

    Returns:
        Bytes of external data.

    Raises:
        ModelError: naming the node, tensor or value that is wrong.
    """
    if not model.HasField("graph"):
        raise ModelError("the file holds no graph: it is not an ONNX model", "give a .onnx file")
    # Text first: ill-formed strings are bytes, which the later checks do not expect.
    _check_text(model, "the model", limits)
    for function in model.functions:
        _check_text(function, f"function {str(function.name)[:80]!r}", limits)
    _check_versions(model)
    tensors = TensorChecker(folder, limits.memory_bytes // 4)
    keys = [function_key(function) for function in model.functions]
    _check_unique(("::".join(key).rstrip(":") for key in keys), "function", "the model")
    functions = frozenset(keys)
    imports = _imports(model.opset_import, "the model")
    walk = _Walk(limits, tensors, functions, imports)
    names = _check_graph(walk, model.graph, f"graph {model.graph.name!r}", 1)
    bodies: dict[FunctionKey | None, _Body] = {None: walk.body}
    for info in model.training_info:
        for part, graph in (("initialization", info.initialization), ("algorithm", info.algorithm)):
            walk.defined = [names]
            _check_graph(walk, graph, f"training {part}", 2)
    for function in model.functions:
        bodies[function_key(function)] = _check_function(walk, function)
    _check_calls(bodies, limits)
    return tensors.external_bytes


def _check_versions(model: onnx.ModelProto) -> None:
    """Raise ``ModelError`` unless the IR version and the operator sets are known."""
    newest = int(onnx.IR_VERSION)
    if not 3 <= model.ir_version <= newest:
        hint = "export it again with a current exporter" if model.ir_version < 3 else "install a newer onnx package"
        raise ModelError(f"IR version {model.ir_version} is not known here (3 to {newest} are)", hint)
    if not model.opset_import:
        raise ModelError("the model imports no operator set", "export it again with a current exporter")


def _imports(entries: Iterable[onnx.OperatorSetIdProto], where: str) -> dict[str, int]:
    """Return {domain: operator set version}; raise ``ModelError`` unless each is known and given once."""
    versions: dict[str, int] = {}
    newest = onnx.defs.onnx_opset_version()
    for entry in entries:
        domain = domain_of(entry.domain)
        if versions.setdefault(domain, entry.version) != entry.version:
            raise ModelError(f"{where} imports operator set {domain or 'ai.onnx'!r} twice, in different versions")
        if entry.version < 1 or entry.version > 2**31 - 1 or (domain == "" and entry.version > newest):
            known = f" (1 to {newest} are)" if domain == "" else ""
            name = domain or "ai.onnx"
            raise ModelError(
                f"{where} imports version {entry.version} of operator set {name!r}, which is not known here{known}",
                "convert the model with onnx.version_converter, or install a newer onnx package",
            )
    return versions


def _check_unique(names: Iterable[str], kind: str, where: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ModelError(f"{where} defines {kind} {name!r} twice", "each name may be given once: export it again")
        seen.add(name)
    return seen


def _text(value: object, what: str, limit: int | None) -> None:
    """Raise ``ModelError`` unless a string is UTF-8 (protobuf returns others as bytes) and, for a name, short."""
    if not isinstance(value, str):
        raise ModelError(f"{what} is not UTF-8 text: {bytes(value)[:40]!r}")  # type: ignore[call-overload]
    if limit is not None and (len(value) > limit or len(value.encode()) > limit):
        raise ModelError(f"{what} is {len(value)} characters long, more than {limit}: {value[:60]!r}…")
    if limit is not None and "\0" in value:
        raise ModelError(f"{what} holds a NUL character: {value[:60]!r}")


def _check_text(message: object, where: str, limits: Limits) -> None:
    """Check all strings of a message and its metadata."""
    for descriptor, value in message.ListFields():  # type: ignore[attr-defined]
        if descriptor.type == descriptor.TYPE_STRING:
            limit = None if descriptor.name in ("doc_string", "producer_version") else limits.name_bytes
            repeated = not isinstance(value, str | bytes)
            for one in value if repeated else (value,):
                _text(one, f"{descriptor.name} of {where}", limit)
        elif descriptor.name in ("metadata_props", "external_data", "opset_import"):
            for entry in value:
                _check_entry(entry, where, limits)


def _check_entry(entry: object, where: str, limits: Limits) -> None:
    for descriptor, value in entry.ListFields():  # type: ignore[attr-defined]
        if descriptor.type == descriptor.TYPE_STRING:
            _text(value, f"a {descriptor.name} in {where}", None if descriptor.name == "value" else limits.name_bytes)


def _check_value(walk: _Walk, value: onnx.ValueInfoProto, where: str) -> None:
    _check_text(value, f"value {value.name!r} of {where}", walk.limits)
    _check_type(walk, value.type, f"value {value.name!r} of {where}", 1)


def _check_type(walk: _Walk, kind: onnx.TypeProto, where: str, depth: int) -> None:
    """Check a type: dimension names are text, values at least -1, which some exporters write."""
    if depth > walk.limits.depth_count:
        raise ModelError(f"the type of {where} is nested more than {walk.limits.depth_count} deep")
    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        for dim in getattr(kind, which).shape.dim:
            _text(dim.dim_param, f"a dimension of {where}", walk.limits.name_bytes)
            if dim.dim_value < -1 or dim.dim_value >= 2**56:
                raise ModelError(f"{where} has the impossible dimension {dim.dim_value}")
    elif which in ("sequence_type", "optional_type"):
        _check_type(walk, getattr(kind, which).elem_type, where, depth + 1)
    elif which == "map_type":
        _check_type(walk, kind.map_type.value_type, where, depth + 1)


def _check_graph(walk: _Walk, graph: onnx.GraphProto, where: str, depth: int) -> set[str]:
    """Check one graph (names, tensors, values, nodes, order) and return the names that it defines."""
    _check_depth(walk, where, depth)
    _check_text(graph, where, walk.limits)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_value(walk, value, where)
    _check_initializers(walk, graph, where)
    inputs = _check_unique((value.name for value in graph.input), "input", where)
    if "" in inputs:
        raise ModelError(f"{where} has an input with no name")
    own = inputs | initializer_names(graph)
    check_node_names(graph.node, where)
    _check_nodes(walk, graph.node, where, depth, own)
    walk.defined.append(own)
    for value in graph.output:
        outer_may_give = len(walk.defined) > 1
        if value.name not in own and not (outer_may_give and _is_defined(walk, value.name)):
            raise ModelError(f"{where} has the output {value.name!r}, which no node makes")
    walk.defined.pop()
    return own


def _check_initializers(walk: _Walk, graph: onnx.GraphProto, where: str) -> None:
    for tensor in graph.initializer:
        _check_text(tensor, f"initialiser {str(tensor.name)[:80]!r} of {where}", walk.limits)
        if not tensor.name:
            raise ModelError(f"{where} has an initialiser with no name")
        walk.tensors.check(tensor, where)
    for sparse in graph.sparse_initializer:
        for part in (sparse.values, sparse.indices):
            _check_text(part, f"sparse initialiser of {where}", walk.limits)
        if not sparse.values.name:
            raise ModelError(f"{where} has a sparse initialiser with no name")
        walk.tensors.check_sparse(sparse, where)
    names = [tensor.name for tensor in graph.initializer]
    names += [sparse.values.name for sparse in graph.sparse_initializer]
    _check_unique(names, "initialiser", where)


def _check_nodes(walk: _Walk, nodes: Iterable[onnx.NodeProto], where: str, depth: int, own: set[str]) -> None:
    """Check the nodes of one body: unique outputs (added to ``own``), defined inputs, no cycle, then each node."""
    listed = list(nodes)
    dropped = superseded_constants(listed)
    walk.body.node_count += len(listed)
    if walk.body.node_count > walk.limits.expanded_node_count:
        raise ModelError(f"{where} holds more than {walk.limits.expanded_node_count} nodes")
    for index, node in enumerate(listed):
        _check_text(node, f"node {str(node.name)[:80]!r} of {where}", walk.limits)
        for name in node.output if index not in dropped else ():
            if name in own:
                raise ModelError(f"{where} makes the value {name!r} twice (node {_node_word(node)})")
            if name:
                own.add(name)
    walk.defined.append(own)
    for node in listed:
        _check_node(walk, node, where, depth)
    walk.defined.pop()
    order = sort_nodes(listed)
    if order.cycle:
        shown = " → ".join(repr(name) for name in (*order.cycle[:8], order.cycle[0]))
        raise ModelError(f"{where} has a cycle: {shown}", "an ONNX graph must have none: use Loop or Scan")


def _check_node(walk: _Walk, node: onnx.NodeProto, where: str, depth: int) -> None:
    word = _node_word(node)
    if not node.op_type:
        raise ModelError(f"node {word} of {where} has no operator type")
    domain = domain_of(node.domain)
    if domain not in walk.imports and domain not in RUNTIME_DOMAINS:
        name = domain or "ai.onnx"
        raise ModelError(f"node {word} of {where} is of domain {name!r}, which is not imported")
    for name in node.input:
        if name and not _is_defined(walk, name):
            raise ModelError(f"node {word} of {where} reads {name!r}, which no node makes")
    key = call_key(node)
    if key in walk.functions:
        walk.body.calls.append((key, depth))
    _check_unique((attribute.name for attribute in node.attribute), "attribute", f"node {word} of {where}")
    for attribute in node.attribute:
        _check_attribute(walk, attribute, f"node {word}")
    if node.op_type == "EPContext":
        _check_compiled(walk, node, word)
    for graph in subgraphs(node):
        _check_graph(walk, graph, f"graph {graph.name!r} in node {word}", depth + 1)


def _check_compiled(walk: _Walk, node: onnx.NodeProto, word: str) -> None:
    """Check the code file that a node compiled by a provider may name: it must lie in the model's folder."""
    values = {attribute.name: attribute for attribute in node.attribute}
    if "ep_cache_context" in values and "embed_mode" in values and values["embed_mode"].i == 0:
        location = values["ep_cache_context"].s.decode(errors="replace")
        walk.tensors.check_file(location, f"node {word}")


def _check_attribute(walk: _Walk, attribute: onnx.AttributeProto, where: str) -> None:
    """Check an attribute: references are declared, tensors valid (the caller walks subgraphs)."""
    what = f"attribute {str(attribute.name)[:80]!r} of {where}"
    _check_text(attribute, what, walk.limits)
    if attribute.ref_attr_name:
        if walk.attributes is None:
            raise ModelError(f"{what} refers to {attribute.ref_attr_name!r} outside of any function")
        if attribute.ref_attr_name not in walk.attributes:
            raise ModelError(f"{what} refers to {attribute.ref_attr_name!r}, which the function does not have")
    tensors = [attribute.t] if attribute.HasField("t") else []
    for tensor in (*tensors, *attribute.tensors):
        _check_text(tensor, f"a tensor in {what}", walk.limits)
        walk.tensors.check(tensor, what)
    sparse_tensors = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for sparse in (*sparse_tensors, *attribute.sparse_tensors):
        walk.tensors.check_sparse(sparse, what)
    types = [attribute.tp] if attribute.HasField("tp") else []
    for kind in (*types, *attribute.type_protos):
        _check_type(walk, kind, what, 1)


def _check_function(walk: _Walk, function: onnx.FunctionProto) -> _Body:
    """Check one function: no outer scope, outputs produced inside, its own imports and attributes."""
    where = f"function {domain_of(function.domain)}::{function.name}"
    own_imports = _imports(function.opset_import, where)
    defaults = [attribute.name for attribute in function.attribute_proto]
    attributes = _check_unique((*function.attribute, *defaults), "attribute", where)
    inputs = _check_unique(function.input, "input", where)
    inner = _Walk(walk.limits, walk.tensors, walk.functions, own_imports or walk.imports, frozenset(attributes))
    for attribute in function.attribute_proto:
        _check_attribute(walk, attribute, where)
        if attribute.HasField("g") or attribute.graphs:
            raise ModelError(
                f"attribute {attribute.name!r} of {where} has a graph as its default, which no runtime reads"
            )
    for value in function.value_info:
        _check_value(inner, value, where)
    _check_nodes(inner, function.node, where, 1, inputs)
    for name in function.output:
        if name not in inputs:
            raise ModelError(f"{where} has the output {name!r}, which no node makes")
    return inner.body


def _check_calls(bodies: dict[FunctionKey | None, _Body], limits: Limits) -> None:
    """Check that the call graph is acyclic and that its expanded size and depth keep the limits."""
    keys = list(bodies)
    index_of = {key: index for index, key in enumerate(keys)}
    sources = [{index_of[key] for key, _ in bodies[caller].calls} for caller in keys]
    order = order_by_sources(sources, lambda index: "::".join(keys[index] or ("the graph",)).strip(":"))
    if order.cycle:
        raise ModelError(f"functions call each other in a cycle: {' → '.join((*order.cycle[:8], order.cycle[0]))}")
    size: dict[FunctionKey | None, int] = {}
    depth: dict[FunctionKey | None, int] = {}
    for index in order.positions:
        body = bodies[keys[index]]
        # Capped, since the numbers double with each function of a call bomb.
        unfolded = body.node_count + sum(size[key] for key, _ in body.calls)
        size[keys[index]] = min(unfolded, limits.expanded_node_count + 1)
        depth[keys[index]] = max([body.depth, *(at + depth[key] for key, at in body.calls)], default=0)
        word = "::".join(keys[index] or ("the graph",)).strip(":")
        if unfolded > limits.expanded_node_count:
            raise ModelError(f"function calls in {word} unfold to more than {limits.expanded_node_count} nodes")
        if depth[keys[index]] > limits.depth_count:
            raise ModelError(f"function calls in {word} are nested more than {limits.depth_count} deep")


def _check_depth(walk: _Walk, where: str, depth: int) -> None:
    walk.body.depth = max(walk.body.depth, depth)
    if depth > walk.limits.depth_count:
        raise ModelError(f"{where} is nested more than {walk.limits.depth_count} deep")


def _is_defined(walk: _Walk, name: str) -> bool:
    return any(name in names for names in reversed(walk.defined))


def _node_word(node: onnx.NodeProto) -> str:
    """Return a node's name for messages: its name, else its first output, and its operator."""
    name = node.name or next((f"%{output}" for output in node.output if output), "with no name")
    return f"{name[:200]!r} ({operator_name(node)[:200]})"
