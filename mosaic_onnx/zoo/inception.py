"""Inception V4 (Szegedy et al. 2017, Figures 3 to 9): 20 layers at 299 × 299."""

from __future__ import annotations

import onnx

from mosaic_onnx.zoo.builder import NetBuilder, Value
from mosaic_onnx.zoo.weights import Weights

CLASS_COUNT = 1001


def inception_v4(weights: Weights) -> onnx.ModelProto:
    """Return Inception V4: three stem layers, A×4, reduction A, B×7, reduction B, C×3, pool with classifier."""
    net = NetBuilder("inception_v4", weights)
    x = _mixed_3a(net, net.input((1, 3, 299, 299)))
    blocks = [_mixed_4a, _mixed_5a, *[_block_a] * 4, _reduction_a, *[_block_b] * 7, _reduction_b, *[_block_c] * 3]
    for number, block in enumerate(blocks, start=2):
        net.layer(number)
        x = block(net, x)
    net.layer(20)
    x = net.flatten(net.average_pool(x, x.shape[2], 1))
    return net.finish(net.softmax(net.fully_connected(x, CLASS_COUNT, name="logits")))


def _chain(net: NetBuilder, x: Value, branch: str, *steps: tuple[int, int | tuple[int, int]]) -> Value:
    """Return stride-1 SAME convolutions in a row; each step is (channels, kernel)."""
    for index, (channels, kernel) in enumerate(steps):
        x = net.conv(x, channels, kernel, name=f"{branch}/conv{index}")
    return x


def _mixed_3a(net: NetBuilder, x: Value) -> Value:
    x = net.conv(x, 32, 3, 2, padding="valid", name="conv1a")
    x = net.conv(x, 32, 3, padding="valid", name="conv2a")
    x = net.conv(x, 64, 3, name="conv2b")
    return net.concat([net.max_pool(x, 3, 2), net.conv(x, 96, 3, 2, padding="valid", name="b1/conv")])


def _mixed_4a(net: NetBuilder, x: Value) -> Value:
    left = net.conv(_chain(net, x, "b0", (64, 1)), 96, 3, padding="valid", name="b0/last")
    right = _chain(net, x, "b1", (64, 1), (64, (1, 7)), (64, (7, 1)))
    return net.concat([left, net.conv(right, 96, 3, padding="valid", name="b1/last")])


def _mixed_5a(net: NetBuilder, x: Value) -> Value:
    return net.concat([net.conv(x, 192, 3, 2, padding="valid", name="b0/conv"), net.max_pool(x, 3, 2)])


def _block_a(net: NetBuilder, x: Value) -> Value:
    pooled = net.average_pool(x, 3, 1, "same")
    return net.concat(
        [
            _chain(net, x, "b0", (96, 1)),
            _chain(net, x, "b1", (64, 1), (96, 3)),
            _chain(net, x, "b2", (64, 1), (96, 3), (96, 3)),
            _chain(net, pooled, "b3", (96, 1)),
        ]
    )


def _reduction_a(net: NetBuilder, x: Value) -> Value:
    deep = _chain(net, x, "b1", (192, 1), (224, 3))
    return net.concat(
        [
            net.conv(x, 384, 3, 2, padding="valid", name="b0/last"),
            net.conv(deep, 256, 3, 2, padding="valid", name="b1/last"),
            net.max_pool(x, 3, 2),
        ]
    )


def _block_b(net: NetBuilder, x: Value) -> Value:
    pooled = net.average_pool(x, 3, 1, "same")
    return net.concat(
        [
            _chain(net, x, "b0", (384, 1)),
            _chain(net, x, "b1", (192, 1), (224, (1, 7)), (256, (7, 1))),
            _chain(net, x, "b2", (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
            _chain(net, pooled, "b3", (128, 1)),
        ]
    )


def _reduction_b(net: NetBuilder, x: Value) -> Value:
    short = _chain(net, x, "b0", (192, 1))
    deep = _chain(net, x, "b1", (256, 1), (256, (1, 7)), (320, (7, 1)))
    return net.concat(
        [
            net.conv(short, 192, 3, 2, padding="valid", name="b0/last"),
            net.conv(deep, 320, 3, 2, padding="valid", name="b1/last"),
            net.max_pool(x, 3, 2),
        ]
    )


def _block_c(net: NetBuilder, x: Value) -> Value:
    fork = _chain(net, x, "b1", (384, 1))
    deep = _chain(net, x, "b2", (384, 1), (448, (3, 1)), (512, (1, 3)))
    pooled = net.average_pool(x, 3, 1, "same")
    return net.concat(
        [
            _chain(net, x, "b0", (256, 1)),
            _chain(net, fork, "b1/left", (256, (1, 3))),
            _chain(net, fork, "b1/right", (256, (3, 1))),
            _chain(net, deep, "b2/left", (256, (3, 1))),
            _chain(net, deep, "b2/right", (256, (1, 3))),
            _chain(net, pooled, "b3", (256, 1)),
        ]
    )
