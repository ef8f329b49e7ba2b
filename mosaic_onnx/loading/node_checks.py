"""Faults of single nodes that the ONNX checker passes over, and that a runtime tells of only when it runs them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import domain_of
from mosaic_onnx.core.layers import TensorInfo

_TERM = re.compile(r"[A-Za-z]*(\.\.\.[A-Za-z]*)?")
"""One operand of an equation: letters, with at most one ellipsis."""
_MOST_SHOWN = 80


def check_node_names(nodes: Iterable[onnx.NodeProto], where: str) -> None:
    """Refuse two nodes of one graph with the same name, as ONNX Runtime does; no name at all is welcome.

    Raises:
        ModelError: there are such nodes; the message names them.
    """
    seen: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        if not node.name or node.op_type == "Constant":  # of constants that are given twice, the last one counts
            continue
        if node.name in seen:
            both = " and ".join(f"one makes {next(iter(each.output), '')!r}" for each in (seen[node.name], node))
            raise ModelError(
                f"{where} has two nodes called {node.name[:_MOST_SHOWN]!r} ({both})",
                "give each node a name of its own, or none",
            )
        seen[node.name] = node


def check_attributes(graph: onnx.GraphProto, tensors: Mapping[str, TensorInfo]) -> None:
    """Refuse nodes whose attributes and constants cannot fit each other or the shapes of their inputs.

    Args:
        graph: whose nodes are looked at.
        tensors: static facts of its tensors, by name.

    Raises:
        ModelError: one cannot run on any input; the message names it.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        check = _CHECKS.get(node.op_type)
        if check is None or domain_of(node.domain):
            continue
        fault = check(_Node(node, tensors, weights))
        if fault is not None:
            named = node.name or f"%{next(iter(node.output), '')}"
            raise ModelError(f"node {named!r} ({node.op_type}): {fault}", "correct the node, or export the model again")


@dataclass(frozen=True)
class _Node:
    """A node and what is known of its inputs."""

    node: onnx.NodeProto
    tensors: Mapping[str, TensorInfo]
    weights: Mapping[str, onnx.TensorProto]

    def attribute(self, name: str) -> onnx.AttributeProto | None:
        return next((each for each in self.node.attribute if each.name == name), None)

    def shape(self, index: int) -> tuple[int, ...] | None:
        """Return the shape of an input; None where it is unknown, or there is none."""
        info = self.tensors.get(self.node.input[index]) if index < len(self.node.input) else None
        return None if info is None else info.shape

    def constant(self, index: int) -> int | None:
        """Return the value of an input that is one integer and a weight; None for others."""
        tensor = self.weights.get(self.node.input[index]) if index < len(self.node.input) else None
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        values = numpy_helper.to_array(tensor).reshape(-1)
        return int(values[0]) if values.size == 1 and values.dtype.kind in "iu" else None


def _einsum_fault(one: _Node) -> str | None:
    """Return what is wrong with an equation, by the operator's specification; None where nothing is."""
    attribute = one.attribute("equation")
    equation = "" if attribute is None else attribute.s.decode(errors="replace")
    shown = f"its equation {equation[:_MOST_SHOWN]!r}"
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not all(_TERM.fullmatch(each) for each in (*terms, right)):
        return f"{shown} is not letters, commas, ellipses and one arrow"
    if len(terms) != len(one.node.input):
        return f"{shown} is for {len(terms)} inputs, and it has {len(one.node.input)}"
    strange = sorted(set(right.replace("...", "")) - set(left))
    if strange:
        return f"{shown} has {strange[0]!r} after the arrow and not before it"
    if arrow and len(set(right.replace("...", ""))) < len(right.replace("...", "")):
        return f"{shown} has a letter twice after the arrow"
    return _einsum_shape_fault(one, terms, shown)


def _einsum_shape_fault(one: _Node, terms: Sequence[str], shown: str) -> str | None:
    """Return how the shapes of the inputs contradict the terms; None where they do not."""
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms):
        shape = one.shape(index)
        if shape is None or any(extent < 0 for extent in shape):
            continue
        letters = term.replace("...", "")
        if len(shape) < len(letters) or (len(shape) > len(letters) and "..." not in term):
            return f"{shown} gives input {index} {len(letters)} dimensions, and it has {len(shape)}"
        head, _, tail = term.partition("...")
        for letter, extent in (*zip(head, shape, strict=False), *zip(tail[::-1], shape[::-1], strict=False)):
            if sizes.setdefault(letter, extent) != extent and 1 not in (sizes[letter], extent):
                return f"{shown} wants {letter!r} to be {sizes[letter]} and {extent}"
    return None


def _stft_fault(one: _Node) -> str | None:
    """Return what is wrong with a short-time Fourier transform; None where nothing is."""
    step, length, signal, window = one.constant(1), one.constant(3), one.shape(0), one.shape(2)
    onesided = one.attribute("onesided")
    if step is not None and step < 1:
        return f"its frame_step is {step}: it must be a number from 1 on"
    if length is not None and length < 1:
        return f"its frame_length is {length}: it must be a number from 1 on"
    if onesided is not None and onesided.i not in (0, 1):
        return f"its onesided is {onesided.i}: it must be 0 or 1"
    frame = window[0] if window else length
    if window and length is not None and length != window[0]:
        return f"its frame_length is {length}, and its window has {window[0]} values"
    if frame is not None and signal is not None and len(signal) > 1 and frame > signal[1] >= 0:
        return f"its frames have {frame} values, and its signal has {signal[1]}"
    return None


def _layer_normalisation_fault(one: _Node) -> str | None:
    """Return what is wrong with an axis; None where nothing is."""
    attribute, shape = one.attribute("axis"), one.shape(0)
    axis = -1 if attribute is None else attribute.i
    if shape is not None and not -len(shape) <= axis < max(1, len(shape)):
        return f"its axis is {axis}, and its input has {len(shape)} dimensions"
    return None


_CHECKS: Mapping[str, Callable[[_Node], str | None]] = {
    "Einsum": _einsum_fault,
    "STFT": _stft_fault,
    "LayerNormalization": _layer_normalisation_fault,
}
