"""Checks that a model can be compiled: a device for every layer, and a runtime for the reference."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.loading.children import Children
from mosaic_onnx.loading.model import OpenedModel, custom_operators, runtime_accepts
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.annotation import Annotation
from mosaic_onnx.verification.reference import Reference

_LACKS_KERNEL = "Could not find an implementation"
"""ONNX Runtime's message where the model is valid and only its CPU provider lacks an operator for a type."""
_MALFORMED = ("ShapeInferenceError", "TypeInferenceError", "This is an invalid model")
"""Words of ONNX Runtime's refusals of models that no runtime can run, whatever operators it has."""


def refuse_malformed(opened: OpenedModel, children: Children | None = None) -> None:
    """Raise ``ModelError`` for a model whose nodes contradict themselves; one that only lacks a device passes.

    Args:
        opened: the model as its file has it.
        children: a child of theirs loads it.

    Raises:
        ModelError: ONNX Runtime finds that a node's attributes, types or shapes cannot be.
    """
    refusal = runtime_accepts(opened, children=children)
    if refusal is not None and any(words in refusal for words in _MALFORMED):
        raise ModelError(f"{opened.path.name}: {refusal}", "correct the node, or export the model again")


def refuse_unrunnable(
    opened: OpenedModel,
    normalised: Normalised,
    annotation: Annotation,
    devices: Sequence[Device],
    children: Children | None = None,
) -> None:
    """Raise ``ModelError`` for a model that no device can run, naming the layer.

    Args:
        opened: the model as its file has it.
        normalised: the same, sorted, its shapes concrete.
        annotation: the devices that can run each layer.
        devices: those that were asked.
        children: a child of theirs loads it.

    Raises:
        ModelError: a layer has no device, or ONNX Runtime, the reference, does not take the model at all.
    """
    for layer, reasons in zip(annotation.graph.layers, annotation.reasons, strict=True):
        if len(reasons) == len(devices):
            words = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise ModelError(f"no device can run layer {layer.name}: {words}", "name another device with -d")
    refusal = runtime_accepts(opened, children=children)
    if refusal is not None and not (_LACKS_KERNEL in refusal and _has_reference(normalised)):
        custom = custom_operators(opened.model)
        names = ", ".join(f"{operator} ({nodes[0]})" for operator, nodes in custom.items())
        hint = f"operators outside ONNX's own domains: {names}" if names else "export the model again for ONNX Runtime"
        raise ModelError(f"{opened.path.name}: {refusal}", hint)


def _has_reference(normalised: Normalised) -> bool:
    """Return whether another runtime than ONNX Runtime can compute the reference."""
    try:
        Reference(normalised.model, normalised.folder).close()
    except ModelError:
        return False
    return True
