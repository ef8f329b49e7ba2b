"""ResNet-V2-152 (He et al. 2016, "Identity Mappings"), as TF-slim writes it: stride 2 in the *last* unit of a stage."""

from __future__ import annotations

import onnx

from mosaic_onnx.zoo.builder import NetBuilder, Value
from mosaic_onnx.zoo.weights import Weights

STAGES = ((64, 3), (128, 8), (256, 36), (512, 3))
"""(bottleneck width b, units) of each stage; a unit's output has 4·b channels."""

CLASS_COUNT = 1001


def resnet_v2_152(weights: Weights) -> onnx.ModelProto:
    """Return ResNet-V2-152: 53 layers: stem with its pool, 50 units, last norm with the pool, logits."""
    net = NetBuilder("resnet_v2_152", weights)
    x = net.pad(net.input((1, 3, 224, 224)), 3, 3)
    x = net.conv(x, 64, 7, 2, padding="valid", activation="none", name="conv1")
    x = net.max_pool(x, 3, 2, "same")
    number = 1
    for stage, (width, units) in enumerate(STAGES):
        for unit in range(units):
            number += 1
            net.layer(number)
            last_of_stage = unit == units - 1 and stage < len(STAGES) - 1
            x = _unit(net, x, width, stride=2 if last_of_stage else 1)
    net.layer(52)
    x = net.spatial_mean(net.batch_norm_relu(x, "postnorm"))
    net.layer(53)
    return net.finish(net.fully_connected(x, CLASS_COUNT, name="logits"))


def _unit(net: NetBuilder, x: Value, width: int, stride: int) -> Value:
    """Return norm and ReLU, then 1×1, 3×3, 1×1; the shortcut is x, a subsampled x, or a 1×1 convolution."""
    preact = net.batch_norm_relu(x)
    if x.channels != 4 * width:
        shortcut = net.conv(preact, 4 * width, 1, activation="none", name="shortcut")
    elif stride > 1:
        shortcut = net.max_pool(x, 1, stride, name="subsample")
    else:
        shortcut = x
    inner = net.conv(preact, width, 1, name="conv1")
    if stride > 1:
        inner = net.conv(net.pad(inner, 1, 1), width, 3, stride, padding="valid", name="conv2")
    else:
        inner = net.conv(inner, width, 3, name="conv2")
    inner = net.conv(inner, 4 * width, 1, activation="none", gain=0.2, name="conv3")
    return net.add(shortcut, inner)
