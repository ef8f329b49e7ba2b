"""Operators that may be added to a graph: each picks operands that fit and says what comes out.

A rule returns False where the graph has no operand for it yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from tests.fuzz.generator.builder import FLOATS, INTEGERS, MOST_ELEMENTS, NUMBERS, Builder, Value

Rule = Callable[[Builder], bool]

_UNARY = ("Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign")
_SINGLE = {
    "LeakyRelu": {"alpha": 0.1},
    "Elu": {"alpha": 0.7},
    "HardSigmoid": {"alpha": 0.3},
    "Gelu": {},
    "Softplus": {},
}
"""Of single precision: ONNX Runtime's CPU provider lacks kernels for other types."""
_BINARY = ("Add", "Sub", "Mul", "Max", "Min")
_COMPARE = ("Greater", "Less", "Equal", "GreaterOrEqual")
_REDUCE = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")


def unary(b: Builder) -> bool:
    value = b.pick(FLOATS)
    if value is None:
        return False
    operator = b.draw.choice([*_UNARY, *(_SINGLE if value.element == TensorProto.FLOAT else ())])
    b.add(operator, [value], value.element, value.shape, **_SINGLE.get(operator, {}))
    return True


def root(b: Builder) -> bool:
    """A square root of what is never negative."""
    value = b.pick(FLOATS)
    if value is None:
        return False
    positive = b.add("Abs", [value], value.element, value.shape)
    b.add(b.draw.choice(["Sqrt", "Identity"]), [positive], value.element, value.shape)
    return True


def binary(b: Builder) -> bool:
    """Arithmetic of two values, or of a value and a weight that is broadcast over it."""
    left = b.pick(NUMBERS)
    if left is None:
        return False
    right = b.pick((left.element,), where=lambda each: _broadcast(left.shape, each.shape) is not None)
    if right is None or b.draw.random() < 0.5:
        right = b.weight(left.element, [b.draw.choice([1, size]) for size in left.shape[b.draw.randrange(3) :]])
    shape = _broadcast(left.shape, right.shape)
    if shape is None:
        return False
    b.add(b.draw.choice(_BINARY), b.draw.sample([left, right], 2), left.element, shape)
    return True


def divide(b: Builder) -> bool:
    value = b.pick(NUMBERS)
    if value is None:
        return False
    b.add("Div", [value, b.weight(value.element, value.shape)], value.element, value.shape)
    return True


def compare(b: Builder) -> bool:
    value = b.pick((TensorProto.FLOAT, TensorProto.INT64))
    if value is None:
        return False
    b.add(b.draw.choice(_COMPARE), [value, b.weight(value.element, ())], TensorProto.BOOL, value.shape)
    return True


def logic(b: Builder) -> bool:
    mask = b.pick((TensorProto.BOOL,))
    if mask is None:
        return False
    other = b.pick((TensorProto.BOOL,), where=lambda each: each.shape == mask.shape) or mask
    if b.draw.random() < 0.3:
        b.add("Not", [mask], TensorProto.BOOL, mask.shape)
    else:
        b.add(b.draw.choice(["And", "Or", "Xor"]), [mask, other], TensorProto.BOOL, mask.shape)
    return True


def where(b: Builder) -> bool:
    mask = b.pick((TensorProto.BOOL,))
    value = b.pick((TensorProto.FLOAT, TensorProto.INT64))
    shape = None if mask is None or value is None else _broadcast(mask.shape, value.shape)
    if mask is None or value is None or shape is None:
        return False
    b.add("Where", [mask, value, b.weight(value.element, ())], value.element, shape)
    return True


def clip(b: Builder) -> bool:
    value = b.pick(FLOATS)
    if value is None:
        return False
    low = b.constant(np.array(-1, dtype=np.float32 if value.element == TensorProto.FLOAT else np.float64))
    b.add("Clip", [value, low, None], value.element, value.shape)
    return True


def cast(b: Builder) -> bool:
    value = b.pick((*NUMBERS, TensorProto.BOOL))
    if value is None:
        return False
    target = b.draw.choice([each for each in NUMBERS if each != value.element])
    b.add("Cast", [value], target, value.shape, to=target)
    return True


def reduce(b: Builder) -> bool:
    value = b.pick(FLOATS, range(1, 6))
    if value is None:
        return False
    axes = sorted(b.draw.sample(range(len(value.shape)), b.draw.randint(1, len(value.shape))))
    keep = b.draw.random() < 0.5
    shape = [1 if axis in axes else size for axis, size in enumerate(value.shape) if keep or axis not in axes]
    b.add(b.draw.choice(_REDUCE), [value, b.integers(axes)], value.element, shape, keepdims=int(keep))
    return True


def along_axis(b: Builder) -> bool:
    """Softmax, a normalisation, a running sum, a position: along one axis."""
    value = b.pick((TensorProto.FLOAT,), range(1, 6))
    if value is None:
        return False
    axis = b.draw.randrange(len(value.shape))
    operator = b.draw.choice(["Softmax", "LogSoftmax", "LayerNormalization", "CumSum", "ArgMax"])
    if operator == "CumSum":
        b.add(operator, [value, b.integers(axis)], value.element, value.shape)
    elif operator == "ArgMax":
        shape = [1 if each == axis else size for each, size in enumerate(value.shape)]
        b.add(operator, [value], TensorProto.INT64, shape, axis=axis)
    elif operator == "LayerNormalization":
        gain = b.weight(value.element, value.shape[axis:])
        b.add(operator, [value, gain], value.element, value.shape, axis=axis)
    else:
        b.add(operator, [value], value.element, value.shape, axis=axis)
    return True


def reshape(b: Builder) -> bool:
    value = b.pick((*NUMBERS, TensorProto.BOOL), range(1, 6))
    if value is None:
        return False
    shape = list(
        b.draw.choice([(value.element_count,), (-1, value.shape[-1]), (value.shape[0], -1), (1, *value.shape)])
    )
    known = math.prod(size for size in shape if size > 0)
    b.add(
        "Reshape",
        [value, b.integers(shape)],
        value.element,
        [s if s > 0 else value.element_count // known for s in shape],
    )
    return True


def transpose(b: Builder) -> bool:
    value = b.pick((*NUMBERS, TensorProto.BOOL), range(2, 6))
    if value is None:
        return False
    order = b.draw.sample(range(len(value.shape)), len(value.shape))
    b.add("Transpose", [value], value.element, [value.shape[axis] for axis in order], perm=order)
    return True


def squeeze(b: Builder) -> bool:
    value = b.pick(NUMBERS, range(6))
    if value is None:
        return False
    ones = [axis for axis, size in enumerate(value.shape) if size == 1]
    if ones and b.draw.random() < 0.6:
        axis = b.draw.choice(ones)
        b.add("Squeeze", [value, b.integers([axis])], value.element, [*value.shape[:axis], *value.shape[axis + 1 :]])
    elif len(value.shape) < 5:
        axis = b.draw.randint(0, len(value.shape))
        shape = [*value.shape[:axis], 1, *value.shape[axis:]]
        b.add("Unsqueeze", [value, b.integers([axis])], value.element, shape)
    return True


def concat(b: Builder) -> bool:
    value = b.pick(NUMBERS, range(1, 6), lambda each: each.element_count <= MOST_ELEMENTS // 2)
    if value is None:
        return False
    axis = b.draw.randrange(len(value.shape))
    fit = [each for each in b.values if each.element == value.element and each.shape == value.shape]
    parts = b.draw.sample(fit, min(len(fit), 2)) if len(fit) > 1 else [value, value]
    shape = [size * (2 if each == axis else 1) for each, size in enumerate(value.shape)]
    b.add("Concat", parts, value.element, shape, axis=axis)
    return True


def cut(b: Builder) -> bool:
    """A slice, or a split, of one axis."""
    value = b.pick((*NUMBERS, TensorProto.BOOL), range(1, 6), lambda each: max(each.shape) > 1)
    if value is None:
        return False
    axis = b.draw.choice([axis for axis, size in enumerate(value.shape) if size > 1])
    at = b.draw.randrange(1, value.shape[axis])
    parts = [(*value.shape[:axis], size, *value.shape[axis + 1 :]) for size in (at, value.shape[axis] - at)]
    if b.draw.random() < 0.5 and value.element != TensorProto.BOOL:
        sizes = b.integers([at, value.shape[axis] - at])
        b.add_many("Split", [value, sizes], [(value.element, part) for part in parts], axis=axis)
    else:
        bounds = [b.integers([each]) for each in (0, at, axis)]
        b.add("Slice", [value, *bounds], value.element, parts[0])
    return True


def gather(b: Builder) -> bool:
    value = b.pick(NUMBERS, range(1, 6))
    if value is None:
        return False
    axis = b.draw.randrange(len(value.shape))
    chosen = [b.draw.randrange(value.shape[axis]) for _ in range(b.draw.randint(1, 3))]
    shape = [*value.shape[:axis], len(chosen), *value.shape[axis + 1 :]]
    b.add("Gather", [value, b.integers(chosen)], value.element, shape, axis=axis)
    return True


def pad(b: Builder) -> bool:
    value = b.pick(FLOATS, range(1, 5), lambda each: each.element_count < 500)
    if value is None:
        return False
    before = [b.draw.randint(0, 1) for _ in value.shape]
    after = [b.draw.randint(0, 1) for _ in value.shape]
    shape = [sum(sizes) for sizes in zip(before, value.shape, after, strict=True)]
    b.add("Pad", [value, b.integers([*before, *after])], value.element, shape, mode=b.draw.choice(["constant", "edge"]))
    return True


def product(b: Builder) -> bool:
    """A matrix product with a weight, or of a matrix with its transpose."""
    value = b.pick(FLOATS, range(2, 5))
    if value is None:
        return False
    if b.draw.random() < 0.3 and len(value.shape) == 2:
        turned = b.add("Transpose", [value], value.element, value.shape[::-1], perm=[1, 0])
        b.add("MatMul", [value, turned], value.element, (value.shape[0], value.shape[0]))
        return True
    width = b.draw.choice([1, 4, 8])
    if len(value.shape) == 2 and b.draw.random() < 0.5:
        factors = [b.weight(value.element, (width, value.shape[1])), b.weight(value.element, (width,))]
        b.add("Gemm", [value, *factors], value.element, (value.shape[0], width), transB=1, alpha=0.5)
    else:
        b.add(
            "MatMul",
            [value, b.weight(value.element, (value.shape[-1], width))],
            value.element,
            (*value.shape[:-1], width),
        )
    return True


def image(b: Builder) -> bool:
    """A convolution, a pooling or a normalisation of an image; one is made where there is none."""
    value = b.pick((TensorProto.FLOAT,), range(4, 5), lambda each: min(each.shape[2:]) >= 3)
    if value is None:
        value = _as_image(b)
    if value is None:
        return False
    batch, channels, height, width = value.shape
    operator = b.draw.choice(["Conv", "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization"])
    if operator == "Conv":
        made = b.draw.choice([channels, 4])
        kernel = b.weight(value.element, (made, channels, 3, 3))
        inputs = [value, kernel, b.weight(value.element, (made,))] if b.draw.random() < 0.5 else [value, kernel]
        b.add(operator, inputs, value.element, (batch, made, height, width), pads=[1, 1, 1, 1])
    elif operator == "BatchNormalization":
        facts = [b.weight(value.element, (channels,)) for _ in range(3)]
        variance = b.constant(np.full(channels, 0.5, np.float32))
        b.add(operator, [value, *facts, variance], value.element, value.shape)
    elif operator == "GlobalAveragePool":
        b.add(operator, [value], value.element, (batch, channels, 1, 1))
    else:
        b.add(operator, [value], value.element, (batch, channels, height - 1, width - 1), kernel_shape=[2, 2])
    return True


def _as_image(b: Builder) -> Value | None:
    value = b.pick((TensorProto.FLOAT,), range(1, 6), lambda each: each.element_count % 9 == 0)
    if value is None:
        return None
    shape = (1, value.element_count // 9, 3, 3)
    return b.add("Reshape", [value, b.integers(shape)], value.element, shape)


def quantise(b: Builder) -> bool:
    """A value through 8 bits and back."""
    value = b.pick((TensorProto.FLOAT,))
    if value is None:
        return False
    scale, zero = b.constant(np.array(0.05, np.float32)), b.constant(np.array(0, b.draw.choice([np.int8, np.uint8])))
    small = b.add("QuantizeLinear", [value, scale, zero], zero.element, value.shape)
    b.add("DequantizeLinear", [small, scale, zero], value.element, value.shape)
    return True


def shape_of(b: Builder) -> bool:
    value = b.pick((*NUMBERS, TensorProto.BOOL), range(1, 6))
    if value is None:
        return False
    b.add("Shape", [value], TensorProto.INT64, (len(value.shape),))
    return True


def top(b: Builder) -> bool:
    value = b.pick((TensorProto.FLOAT,), range(1, 5))
    if value is None:
        return False
    shape = (*value.shape[:-1], b.draw.randint(1, value.shape[-1]))
    b.add_many("TopK", [value, b.integers([shape[-1]])], [(value.element, shape), (TensorProto.INT64, shape)])
    return True


def integer_arithmetic(b: Builder) -> bool:
    value = b.pick(INTEGERS)
    if value is None:
        return False
    b.add("Mod", [value, b.weight(value.element, ())], value.element, value.shape)
    return True


def _broadcast(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...] | None:
    """The common shape; None where there is none, or it is too large."""
    try:
        shape = np.broadcast_shapes(tuple(one), tuple(other))
    except ValueError:
        return None
    return shape if math.prod(shape) <= MOST_ELEMENTS else None


PLAIN: tuple[Rule, ...] = (
    unary, unary, root, binary, binary, divide, compare, logic, where, clip, cast, reduce, along_axis, reshape,
    transpose, squeeze, concat, cut, gather, pad, product, product, image, image, quantise, shape_of, top,
    integer_arithmetic,
)  # fmt: skip
"""Operators without bodies; those named twice come twice as often."""
