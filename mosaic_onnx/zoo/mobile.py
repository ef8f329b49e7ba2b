"""MobileNet V2 (Sandler et al. 2018, Table 2) and MnasNet-B1 (Tan et al. 2018, without squeeze-and-excitation)."""

from __future__ import annotations

import onnx

from mosaic_onnx.zoo.builder import Activation, NetBuilder, Value
from mosaic_onnx.zoo.weights import Weights

MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""(expansion t, channels c, repeats n, first stride s) of each stage."""

MNASNET_B1 = (
    (3, 3, 24, 3, 2),
    (3, 5, 40, 3, 2),
    (6, 5, 80, 3, 2),
    (6, 3, 96, 2, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
"""(expansion t, kernel k, channels c, repeats n, first stride s) of each stage after the separable one."""

CLASS_COUNT = 1001


def scaled(channels: int, width: float) -> int:
    """Return channels × width as a multiple of 8, at most 10 % below (TF-slim's ``_make_divisible``)."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def mobilenet_v2(weights: Weights, width: float) -> onnx.ModelProto:
    """Return MobileNet V2: 18 layers: stem with bottleneck 0, sixteen bottlenecks, head.

    Args:
        weights: the source of the weights.
        width: the paper's p_W.
    """
    net = NetBuilder(f"mobilenet_v2_{width}", weights)
    x = net.conv(net.input((1, 3, 224, 224)), scaled(32, width), 3, 2, activation="relu6", name="stem")
    number = 0
    for expansion, channels, repeats, first_stride in MOBILENET_V2:
        for repeat in range(repeats):
            number += 1
            net.layer(number)
            stride = first_stride if repeat == 0 else 1
            x = inverted_bottleneck(
                net, x, scaled(channels, width), expansion=expansion, kernel=3, stride=stride, activation="relu6"
            )
    net.layer(18)
    x = net.conv(x, scaled(1280, max(1.0, width)), 1, activation="relu6", name="head")
    return net.finish(net.fully_connected(net.global_average_pool(x), CLASS_COUNT, name="logits"))


def mnasnet_b1(weights: Weights, width: float) -> onnx.ModelProto:
    """Return MnasNet-B1: 20 layers: stem, separable convolution, sixteen bottlenecks, 1×1 head, pool with classifier.

    Args:
        weights: the source of the weights.
        width: the paper's p_W.
    """
    net = NetBuilder(f"mnasnet_{width}", weights)
    x = net.conv(net.input((1, 3, 224, 224)), scaled(32, width), 3, 2, name="stem")
    net.layer(2)
    x = net.conv(net.depthwise(x, 3), scaled(16, width), 1, activation="none", name="project")
    number = 2
    for expansion, kernel, channels, repeats, first_stride in MNASNET_B1:
        for repeat in range(repeats):
            number += 1
            net.layer(number)
            stride = first_stride if repeat == 0 else 1
            x = inverted_bottleneck(
                net, x, scaled(channels, width), expansion=expansion, kernel=kernel, stride=stride, activation="relu"
            )
    net.layer(19)
    x = net.conv(x, 1280, 1, name="head")
    net.layer(20)
    return net.finish(net.fully_connected(net.global_average_pool(x), CLASS_COUNT, name="logits"))


def inverted_bottleneck(
    net: NetBuilder, x: Value, channels: int, *, expansion: int, kernel: int, stride: int, activation: Activation
) -> Value:
    """Return 1×1 expansion, depthwise, linear 1×1 projection; a residual where stride is 1 and widths agree."""
    inner = x
    if expansion != 1:
        inner = net.conv(x, x.channels * expansion, 1, activation=activation, name="expand")
    inner = net.depthwise(inner, kernel, stride, activation=activation)
    inner = net.conv(inner, channels, 1, activation="none", gain=0.7, name="project")
    return net.add(x, inner) if stride == 1 and x.channels == channels else inner
