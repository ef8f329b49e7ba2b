"""Nodes that vendors' providers are known to refuse, to compute wrong, or to crash at.

Found by running ONNX's own operator tests on onnxruntime-qnn 2.7.0 (HTP simulator) and onnxruntime-ep-webgpu 0.4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from onnx import helper

Claim = Callable[[onnx.NodeProto], str | None]
"""Returns why a provider must not be given a node; None where it may."""


def _always(reason: str) -> Claim:
    return lambda node: reason


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _qnn_pool(node: onnx.NodeProto) -> str | None:
    given = _attributes(node)
    if given.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        return "QNN crashes at some pools that pad by themselves, and gets others wrong"
    pads, kernel = given.get("pads", []), given.get("kernel_shape", [])
    is_wide = any(2 * pad > extent for pad, extent in zip(pads, [*kernel, *kernel], strict=False))
    if given.get("ceil_mode") or is_wide or (given.get("count_include_pad") and any(pads)):
        return "QNN divides by another count than ONNX at the edges"
    return None


def _qnn_conv_transpose(node: onnx.NodeProto) -> str | None:
    given = _attributes(node)
    if "output_shape" in given or any(given.get("pads", [])) or any(given.get("output_padding", [])):
        return "QNN gets it wrong where it is padded or its output's shape is given"
    return None


def _qnn_attention(node: onnx.NodeProto) -> str | None:
    return "QNN gets the product of queries and keys wrong" if len(node.output) > 3 and node.output[3] else None


_NO_HTP = _always("the HTP has no such operator")
_WRONG_RESULT = _always("QNN's result differs from ONNX's")

QNN_CLAIMS: Mapping[str, Claim] = {
    "Attention": _qnn_attention,
    "AveragePool": _qnn_pool,
    "ConvTranspose": _qnn_conv_transpose,
    "Erf": _NO_HTP,
    "GatherElements": _always("QNN gets negative indices wrong"),
    "GridSample": _WRONG_RESULT,
    "HardSigmoid": _always("QNN's fusion of it with Mul differs from ONNX's HardSwish"),
    "IsNaN": _WRONG_RESULT,
    "LpPool": _qnn_pool,
    "MaxPool": _qnn_pool,
    "NonZero": _NO_HTP,
    "Resize": _WRONG_RESULT,
    "STFT": _always("QNN crashes at it"),
    "ScatterElements": _always("QNN gets negative indices wrong"),
    "Shape": _NO_HTP,
    "Tan": _WRONG_RESULT,
    "Trilu": _NO_HTP,
}

_NO_KERNEL = _always("the WebGPU provider has no kernel for it")


def _webgpu_resize(node: onnx.NodeProto) -> str | None:
    return "the WebGPU provider has no kernel with antialias" if _attributes(node).get("antialias") else None


def _webgpu_batch_norm(node: onnx.NodeProto) -> str | None:
    return "the WebGPU provider does not train" if _attributes(node).get("training_mode") else None


WEBGPU_CLAIMS: Mapping[str, Claim] = {
    "BatchNormalization": _webgpu_batch_norm,
    "GridSample": _NO_KERNEL,
    "NonZero": _NO_KERNEL,
    "Resize": _webgpu_resize,
    "Round": _NO_KERNEL,
}
