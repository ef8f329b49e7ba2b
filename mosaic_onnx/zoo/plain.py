"""VGG-16 (Simonyan and Zisserman 2014, D) and SqueezeNet 1.0 (Iandola et al. 2016)."""

from __future__ import annotations

import onnx

from mosaic_onnx.zoo.builder import NetBuilder, Value
from mosaic_onnx.zoo.weights import Weights

VGG_16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3×3 convolutions; a 2×2 max pool ends each group."""

SQUEEZENET_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""(squeeze, expand) channels of fire 2 to fire 9."""


def vgg16(weights: Weights) -> onnx.ModelProto:
    """Return VGG-16: 16 layers: 13 convolutions with the pools attached, fc6, fc7, fc8."""
    net = NetBuilder("vgg16", weights)
    x = net.input((1, 3, 224, 224))
    number = 0
    for group in VGG_16:
        for channels in group:
            number += 1
            net.layer(number)
            x = net.conv(x, channels, 3)
        x = net.max_pool(x, 2, 2)
    net.layer(14)
    x = net.fully_connected(net.flatten(x), 4096, "relu", name="fc6")
    net.layer(15)
    x = net.fully_connected(x, 4096, "relu", name="fc7")
    net.layer(16)
    return net.finish(net.fully_connected(x, 1000, name="fc8"))


def squeezenet(weights: Weights) -> onnx.ModelProto:
    """Return SqueezeNet 1.0: 10 layers: conv1 with pool, fire 2 to 9 (pools after 4 and 8), conv10 with global pool."""
    net = NetBuilder("squeezenet", weights)
    x = net.conv(net.input((1, 3, 224, 224)), 96, 7, 2, padding="valid", name="conv1")
    x = net.max_pool(x, 3, 2)
    for number, (squeeze, expand) in enumerate(SQUEEZENET_FIRES, start=2):
        net.layer(number)
        x = _fire(net, x, squeeze, expand)
        if number in (4, 8):
            x = net.max_pool(x, 3, 2)
    net.layer(10)
    x = net.conv(x, 1001, 1, name="conv10")
    return net.finish(net.global_average_pool(x))


def _fire(net: NetBuilder, x: Value, squeeze: int, expand: int) -> Value:
    narrow = net.conv(x, squeeze, 1, name="squeeze")
    return net.concat([net.conv(narrow, expand, 1, name="expand1x1"), net.conv(narrow, expand, 3, name="expand3x3")])
