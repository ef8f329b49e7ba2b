"""Networks of the NPU's checks that the zoo does not build, as loop nests: ResNet-50, AlexNet, GoogLeNet."""

from __future__ import annotations

from mosaic_onnx.npu import LoopNest, ModelLayers, VectorWork


def convolution(
    name: str,
    channels: int,
    extent: int,
    outputs: int,
    taps: int,
    stride: int = 1,
    groups: int = 1,
    residual: bool = False,
) -> LoopNest:
    """A square convolution with padding on both sides as frameworks have it."""
    padding = taps // 2
    size = (extent + 2 * padding - taps) // stride + 1
    return LoopNest(
        name,
        "conv",
        1,
        outputs // groups,
        channels // groups,
        size,
        size,
        taps,
        taps,
        extent,
        extent,
        (stride, stride),
        (1, 1),
        (padding, padding),
        groups,
        outputs * size * size if residual else 0,
    )


def connected(name: str, inputs: int, outputs: int) -> LoopNest:
    return LoopNest(name, "gemm", 1, outputs, inputs, 1, 1, 1, 1, 1, 1)


def pooling(name: str, channels: int, extent: int, size: int, window: int) -> VectorWork:
    made = channels * size * size
    return VectorWork(name, "MaxPool", made * window * window, channels * extent * extent, made)


def resnet50() -> ModelLayers:
    layers: list[LoopNest | VectorWork] = [convolution("conv1", 3, 224, 64, 7, 2), pooling("pool1", 64, 112, 56, 3)]
    channels, extent = 64, 56
    for stage, (count, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for unit in range(count):
            name, stride = f"{stage}{unit}", 2 if stage and not unit else 1
            if not unit:
                layers.append(convolution(name + "s", channels, extent, 4 * width, 1, stride))
            layers.append(convolution(name + "a", channels, extent, width, 1))
            layers.append(convolution(name + "b", width, extent, width, 3, stride))
            extent = -(-extent // stride)
            layers.append(convolution(name + "c", width, extent, 4 * width, 1, residual=True))
            channels = 4 * width
    layers += [pooling("pool5", 2048, 7, 1, 7), connected("fc", 2048, 1000)]
    return ModelLayers("resnet50", tuple(layers))


def alexnet() -> ModelLayers:
    first = LoopNest("conv1", "conv", 1, 96, 3, 55, 55, 11, 11, 227, 227, (4, 4))
    return ModelLayers(
        "alexnet",
        (
            first,
            pooling("pool1", 96, 55, 27, 3),
            convolution("conv2", 96, 27, 256, 5, groups=2),
            pooling("pool2", 256, 27, 13, 3),
            convolution("conv3", 256, 13, 384, 3),
            convolution("conv4", 384, 13, 384, 3, groups=2),
            convolution("conv5", 384, 13, 256, 3, groups=2),
            pooling("pool5", 256, 13, 6, 3),
            connected("fc6", 9216, 4096),
            connected("fc7", 4096, 4096),
            connected("fc8", 4096, 1000),
        ),
    )


INCEPTIONS = (  # extent, input, 1×1, 3×3 reduced, 3×3, 5×5 reduced, 5×5, pool projection
    (28, 192, 64, 96, 128, 16, 32, 32),
    (28, 256, 128, 128, 192, 32, 96, 64),
    (14, 480, 192, 96, 208, 16, 48, 64),
    (14, 512, 160, 112, 224, 24, 64, 64),
    (14, 512, 128, 128, 256, 24, 64, 64),
    (14, 512, 112, 144, 288, 32, 64, 64),
    (14, 528, 256, 160, 320, 32, 128, 128),
    (7, 832, 256, 160, 320, 32, 128, 128),
    (7, 832, 384, 192, 384, 48, 128, 128),
)


def googlenet() -> ModelLayers:
    layers: list[LoopNest | VectorWork] = [
        convolution("conv1", 3, 224, 64, 7, 2),
        pooling("pool1", 64, 112, 56, 3),
        convolution("conv2r", 64, 56, 64, 1),
        convolution("conv2", 64, 56, 192, 3),
        pooling("pool2", 192, 56, 28, 3),
    ]
    for number, (extent, inputs, one, reduce3, three, reduce5, five, projection) in enumerate(INCEPTIONS):
        name = f"inception{number}"
        layers += [
            convolution(name + "a", inputs, extent, one, 1),
            convolution(name + "b", inputs, extent, reduce3, 1),
            convolution(name + "c", reduce3, extent, three, 3),
            convolution(name + "d", inputs, extent, reduce5, 1),
            convolution(name + "e", reduce5, extent, five, 5),
            pooling(name + "p", inputs, extent, extent, 3),
            convolution(name + "f", inputs, extent, projection, 1),
        ]
    layers += [pooling("pool3", 480, 28, 14, 3), pooling("pool4", 832, 14, 7, 3), pooling("pool5", 1024, 7, 1, 7)]
    layers.append(connected("fc", 1024, 1000))
    return ModelLayers("googlenet", tuple(layers))
