"""The graph of calls around the slices, built with onnx-graphsurgeon.

Graphsurgeon tracks producers and readers of values while nodes are inserted. ``canonical`` afterwards writes the fields
that it does not know (metadata, device fields, overloads, annotations, versions, documents) onto the exported nodes.
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
            outputs: values that it produces.
            words: attributes.
        """
        read, made = [self._value(one) for one in inputs], [self._value(one) for one in outputs]
        node = self._gs.Node(function, name, attrs=words, inputs=read, outputs=made, domain=self._domain)
        self._graph.nodes.append(node)

    def nodes(self) -> list[onnx.NodeProto]:
        """Return the calls as ONNX nodes."""
        return list(self._gs.export_onnx(self._graph, do_type_check=False).graph.node)

    def _value(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._gs.Variable(name)
        return self._values[name]
