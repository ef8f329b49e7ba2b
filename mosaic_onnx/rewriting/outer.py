"""The graph around the slices while it is wired, with onnx-graphsurgeon.

Graphsurgeon keeps producers and readers of a value together while nodes are put between them. It is not the last
writer: metadata, device fields, overloads, annotations, versions and documents, which it does not know, are written by
``canonical`` onto the nodes that it exports.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx


class OuterGraph:
    """Calls of functions over named values, in the order in which they were added.

    Args:
        domain: of the functions.
    """

    def __init__(self, domain: str) -> None:
        import onnx_graphsurgeon as gs

        self._gs = gs
        self._graph = gs.Graph()
        self._domain = domain
        self._values: dict[str, Any] = {}

    def call(self, function: str, name: str, inputs: Iterable[str], outputs: Iterable[str], **words: str | int) -> None:
        """Add a call of a function.

        Args:
            function: its name.
            name: the node's name.
            inputs: values that it reads.
            outputs: values that it makes.
            words: attributes.
        """
        read, made = [self._value(one) for one in inputs], [self._value(one) for one in outputs]
        node = self._gs.Node(function, name, attrs=words, inputs=read, outputs=made, domain=self._domain)
        self._graph.nodes.append(node)

    def nodes(self) -> list[onnx.NodeProto]:
        """The calls as ONNX nodes."""
        return list(self._gs.export_onnx(self._graph, do_type_check=False).graph.node)

    def _value(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._gs.Variable(name)
        return self._values[name]
