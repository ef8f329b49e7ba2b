"""Nodes that hold what a vendor's compiler made: its own parser reads it, and nothing is known of what that does."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import every_node, operator_name

_OPERATOR = "EPContext"
"""ONNX Runtime's operator for such a node, whatever domain a provider gives it."""


def refuse_compiled_nodes(models: Iterable[onnx.ModelProto], what: str) -> None:
    """Refuse models of a stranger that hand a blob to a vendor's parser.

    Args:
        models: to look through, subgraphs and functions included.
        what: what to call the file in the error.

    Raises:
        ModelError: a node holds compiled code; the message names it.
    """
    for model in models:
        for nodes in (model.graph.node, *(function.node for function in model.functions)):
            for node in every_node(nodes):
                if node.op_type == _OPERATOR:
                    named = node.name or next(iter(node.output), "")
                    raise ModelError(
                        f"{what}: node {named!r} ({operator_name(node)}) holds what a vendor's compiler made, "
                        "which only that vendor's own parser reads",
                        "compile the original model instead, or --trust a bundle whose maker you know",
                    )
