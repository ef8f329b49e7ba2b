"""Cut a model after its runtime optimised it, so that cuts keep fusions and blocked layouts.

A runtime's optimised graph has nodes of its own, fused and renamed. Each belongs to the slice of the last original
value that it represents, and never to an earlier slice than its inputs, so the slices stay in order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.graph.graphs import node_keys, reads, renamed_node, writes
from mosaic_onnx.rewriting.extracting import Extractor

_LAYOUT_SUFFIX = re.compile(r"_nchwc$|_token_\d+$|_transpose(_\d+)?$")
"""The suffix that ONNX Runtime adds to a value's name for a node of another layout."""


def slice_numbers(graph: onnx.GraphProto, maker: Mapping[str, int]) -> list[int]:
    """Return [node] the slice of each node of an optimised graph.

    Args:
        graph: sorted topologically.
        maker: {name of an original value: the slice that produces it}.
    """
    at: dict[str, int] = {}
    numbers = []
    for node in graph.node:
        names = (*writes(node), _LAYOUT_SUFFIX.sub("", node.name))
        number = max((maker[name] for name in names if name in maker), default=0)
        number = max([number, *(at[name] for name in reads(node) if name in at)])
        at.update(dict.fromkeys(writes(node), number))
        numbers.append(number)
    return numbers


def cut_optimised(
    optimised: SliceModel, made: Sequence[Sequence[str]], prefix: str = ""
) -> tuple[SliceModel, ...] | None:
    """Return the slices of an optimised model.

    Args:
        optimised: with the type of every value; its inner values are renamed in place.
        made: [slice] the original values that each slice produces.
        prefix: prefix for the names of inner values, which a runtime reuses in every model that it optimises.

    Returns:
        One model per slice, in order; None where optimising left a slice without a node.
    """
    graph = optimised.model.graph
    numbers = slice_numbers(graph, {name: number for number, names in enumerate(made) for name in names})
    _rename_inner(graph, prefix)
    keys: list[list[str]] = [[] for _ in made]
    for key, number in zip(node_keys(graph), numbers, strict=True):
        keys[number].append(key)
    if not all(keys):
        return None
    extractor = Extractor(optimised.model, optimised.folder)
    folded = {value.name for value in graph.output} & set(extractor.index.weights)
    cut = [_extract(extractor, own, [n for n in names if n in folded]) for own, names in zip(keys, made, strict=True)]
    return tuple(SliceModel(one.model, one.folder, one.inputs, one.outputs, is_optimised=True) for one in cut)


def _extract(extractor: Extractor, keys: Sequence[str], folded: Sequence[str]) -> SliceModel:
    """Return one slice, including outputs that optimising turned into weights, which no node produces."""
    if not folded:
        return extractor.extract(keys)
    needed = extractor.index.needed_outside(extractor.index.positions(keys))
    return extractor.extract(keys, [*needed, *folded])


def _rename_inner(graph: onnx.GraphProto, prefix: str) -> None:
    """Add a prefix to the names of all inner values."""
    kept = {value.name for value in graph.output}
    names = {name: prefix + name for node in graph.node for name in writes(node) if name not in kept}
    renamed = [renamed_node(node, names) for node in graph.node]
    del graph.node[:]
    graph.node.extend(renamed)
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)
