"""Networks measured by others on the HiKey 970 (Wang, Pathania, Mitra 2020), to check its description."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx

from mosaic_onnx.zoo.builder import NetBuilder, Value
from mosaic_onnx.zoo.plain import squeezenet
from mosaic_onnx.zoo.weights import Weights

GOOGLENET = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Channels of each inception block: 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5; pool projection. A pool ends each group."""

MOBILENET_V1 = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *(((512, 1),) * 5),
    *((1024, 2), (1024, 1)),
)
"""(channels, stride) of each depthwise-separable block."""

RESNET_50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""(bottleneck width, units, first stride) of each stage."""


def alexnet(weights: Weights) -> onnx.ModelProto:
    """Return AlexNet (Krizhevsky et al. 2012) at 227 × 227, two groups; local response norms left out."""
    net = NetBuilder("alexnet", weights)
    x = net.max_pool(net.conv(net.input((1, 3, 227, 227)), 96, 11, 4, padding="valid"), 3, 2)
    net.layer(2)
    x = net.max_pool(net.conv(x, 256, 5, groups=2), 3, 2)
    for number, (channels, groups) in enumerate(((384, 1), (384, 2), (256, 2)), start=3):
        net.layer(number)
        x = net.conv(x, channels, 3, groups=groups)
    x = net.flatten(net.max_pool(x, 3, 2))
    for number, features in enumerate((4096, 4096), start=6):
        net.layer(number)
        x = net.fully_connected(x, features, "relu")
    net.layer(8)
    return net.finish(net.fully_connected(x, 1000))


def googlenet(weights: Weights) -> onnx.ModelProto:
    """Return GoogLeNet (Szegedy et al. 2015) without the auxiliary classifiers."""
    net = NetBuilder("googlenet", weights)
    x = net.max_pool(net.conv(net.input((1, 3, 224, 224)), 64, 7, 2), 3, 2, "same")
    net.layer(2)
    x = net.max_pool(net.conv(net.conv(x, 64, 1, name="reduce"), 192, 3), 3, 2, "same")
    number = 2
    for group, blocks in enumerate(GOOGLENET):
        for channels in blocks:
            number += 1
            net.layer(number)
            x = _inception(net, x, channels)
        if group < len(GOOGLENET) - 1:
            x = net.max_pool(x, 3, 2, "same", name="end")
    net.layer(number + 1)
    return net.finish(net.fully_connected(net.global_average_pool(x), 1000))


def _inception(net: NetBuilder, x: Value, channels: tuple[int, ...]) -> Value:
    direct, reduce3, expand3, reduce5, expand5, projected = channels
    return net.concat(
        [
            net.conv(x, direct, 1, name="b0"),
            net.conv(net.conv(x, reduce3, 1, name="b1/reduce"), expand3, 3, name="b1"),
            net.conv(net.conv(x, reduce5, 1, name="b2/reduce"), expand5, 5, name="b2"),
            net.conv(net.max_pool(x, 3, 1, "same"), projected, 1, name="b3"),
        ]
    )


def mobilenet_v1(weights: Weights) -> onnx.ModelProto:
    """Return MobileNet 1.0 at 224 × 224 (Howard et al. 2017)."""
    net = NetBuilder("mobilenet_v1", weights)
    x = net.conv(net.input((1, 3, 224, 224)), 32, 3, 2)
    for number, (channels, stride) in enumerate(MOBILENET_V1, start=2):
        net.layer(number)
        x = net.conv(net.depthwise(x, 3, stride), channels, 1)
    net.layer(15)
    return net.finish(net.fully_connected(net.global_average_pool(x), 1000))


def resnet50(weights: Weights) -> onnx.ModelProto:
    """Return ResNet-50 (He et al. 2015), version 1."""
    net = NetBuilder("resnet50", weights)
    x = net.max_pool(net.conv(net.input((1, 3, 224, 224)), 64, 7, 2), 3, 2, "same")
    number = 1
    for width, units, first_stride in RESNET_50:
        for unit in range(units):
            number += 1
            net.layer(number)
            stride = first_stride if unit == 0 else 1
            inner = net.conv(net.conv(x, width, 1, stride, name="conv1"), width, 3, name="conv2")
            inner = net.conv(inner, 4 * width, 1, activation="none", name="conv3")
            if x.channels != 4 * width:
                x = net.conv(x, 4 * width, 1, stride, activation="none", name="shortcut")
            x = net.add(x, inner)
    net.layer(number + 1)
    return net.finish(net.fully_connected(net.global_average_pool(x), 1000))


NETWORKS: Mapping[str, Callable[[Weights], onnx.ModelProto]] = {
    "alexnet": alexnet,
    "googlenet": googlenet,
    "mobilenet_v1": mobilenet_v1,
    "resnet50": resnet50,
    "squeezenet": squeezenet,
}
"""The five networks of the table, by name."""
