"""The sensitivity of a computation's results to rounding.

If rounding changes a result as much as a device's error, the error shows nothing about the device: the computation is
ill-conditioned there (a logarithm near one, a maximum with a tie, truncation), and the report says so. There are three
disturbances: a rounding of every node's result (random arithmetic, as in CESTAC and Verrou), of the inputs, or of
values before they are quantised: some are then rounded the other way, which later layers amplify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.core.graph.graphs import writes
from mosaic_onnx.verification.differences import Difference, difference
from mosaic_onnx.verification.reference import Reference

Moved = Callable[[], Mapping[str, Difference]]
"""Returns {output: its change by a disturbance}; computed at the first call."""
ROUNDING = {"f64": 1e-12, "f32": 1e-6, "f16": 2e-3, "bf16": 1.6e-2}
"""Relative size of the disturbance by precision: some units in the last place, as a few operators in a row cause."""
ROUNDS = 4
STEP_SHARE = 1e-3
"""Share of a quantisation step that float32 loses in sums of some hundred steps that cancel."""
_EXACT = frozenset(
    {
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "GatherND"),
        *("GatherElements", "Split", "Pad", "Concat", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Trilu"),
        *("Relu", "Clip", "MaxPool", "Max", "Min", "Abs", "Neg", "Floor", "Ceil", "Round", "Sign", "Cast", "Where"),
        *("ReduceMax", "ReduceMin", "TopK", "OneHot", "ConstantOfShape", "ScatterND", "ScatterElements", "Compress"),
        *("Constant", "Dropout", "DequantizeLinear", "If", "Loop", "Scan"),
    }
)
"""Operators that do not round."""
_DISTURBED_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


def rounding_of(precision: str) -> float:
    """Return the disturbance for a device's precision; an unknown one (int8, …) counts as bfloat16."""
    return ROUNDING.get(precision, ROUNDING["bf16"])


def disturbances(
    model: onnx.ModelProto,
    folder: str | None,
    reference: Reference,
    inputs: Mapping[str, Array],
    amount: float,
    types: Mapping[str, int],
) -> list[tuple[str, Moved]]:
    """Return explanations to try in turn: (words, function that returns each output's change by a disturbance).

    Args:
        model: the computation.
        folder: where its external data lies.
        reference: the model, loaded.
        inputs: the inputs.
        amount: relative size of the disturbance.
        types: element type of every value.
    """

    @cache
    def expected() -> dict[str, Array]:
        return reference.run(inputs)

    def round_otherwise(seed: int) -> dict[str, Array]:
        moved = Reference(with_noise(model, amount / 2, seed, types), folder, reference.runtime)
        try:
            return moved.run(inputs)
        finally:
            moved.close()

    def move_inputs(seed: int) -> dict[str, Array]:
        random = np.random.default_rng(seed)
        return reference.run({name: disturbed(array, random, amount) for name, array in inputs.items()})

    def quantise_otherwise(seed: int) -> dict[str, Array]:
        moved = Reference(with_moved_steps(model, STEP_SHARE, seed, types), folder, reference.runtime)
        try:
            return moved.run(inputs)
        finally:
            moved.close()

    by_noise = cache(lambda: _largest(round_otherwise, expected()))
    by_inputs = cache(lambda: _largest(move_inputs, expected()))
    by_steps = cache(lambda: _largest(quantise_otherwise, expected()))
    found: list[tuple[str, Moved]] = [
        (f"ill-conditioned: results of nodes moved by {amount / 2:g} move it as far", by_noise),
        (f"ill-conditioned: inputs moved by {amount:g} of themselves move it as far", by_inputs),
    ]
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        words = f"ill-conditioned: values moved by {STEP_SHARE:g} of a step before they are quantised move it as far"
        found.append((words, by_steps))
    return found


def _largest(compute: Callable[[int], Mapping[str, Array]], expected: Mapping[str, Array]) -> dict[str, Difference]:
    """Return {output: largest difference over some seeds}."""
    worst: dict[str, Difference] = {}
    for seed in range(ROUNDS):
        try:
            moved = compute(seed)
        except MosaicError:
            continue  # a disturbed value may be illegal; the other seeds decide
        for name, array in expected.items():
            found = difference(name, moved.get(name), array)
            if name not in worst or _rank(found) > _rank(worst[name]):
                worst[name] = found
    return worst


def _rank(found: Difference) -> tuple[bool, int, float, int]:
    return bool(found.problem), found.non_finite_count, found.max_absolute, found.differing_count


def disturbed(array: Array, random: np.random.Generator, amount: float) -> Array:
    """Return the array with every float changed by ±``amount`` of itself; integers and strings stay."""
    if array.dtype.kind != "f" and not array.dtype.name.startswith(("bfloat", "float")):
        return array
    signs = random.integers(0, 2, array.shape) * 2.0 - 1.0
    with np.errstate(all="ignore"):
        return np.asarray(array.astype(np.float64) * (1 + signs * amount)).astype(array.dtype)


def rounding_floor(inputs: Mapping[str, Array], amount: float) -> float:
    """Return the size of a rounding of the largest finite float among the inputs."""
    floats = [array.astype(np.float64) for array in inputs.values() if array.dtype.kind == "f" and array.size]
    return amount * max(
        (float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0)) for array in floats), default=0.0
    )


def element_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Return {value: element type} as far as the graph declares them."""
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}


def with_noise(model: onnx.ModelProto, amount: float, seed: int, types: Mapping[str, int]) -> onnx.ModelProto:
    """Return a copy in which the float results of nodes that round are multiplied by 1 ± ``amount`` at random.

    Nodes in subgraphs and functions are not changed.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    random = np.random.default_rng(seed)
    nodes = []
    for node in model.graph.node:
        kept = onnx.NodeProto.FromString(node.SerializeToString())
        nodes.append(kept)
        if node.op_type in _EXACT:
            continue
        for name in writes(node):
            if types.get(name) not in _DISTURBED_TYPES:
                continue
            factor = np.asarray(1 + (2 * int(random.integers(0, 2)) - 1) * amount)
            dtype = helper.tensor_dtype_to_np_dtype(types[name])
            copy.graph.initializer.append(numpy_helper.from_array(factor.astype(dtype), f"{name}/factor"))
            kept.output[list(kept.output).index(name)] = f"{name}/as it is"
            nodes.append(helper.make_node("Mul", [f"{name}/as it is", f"{name}/factor"], [name]))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def with_moved_steps(model: onnx.ModelProto, share: float, seed: int, types: Mapping[str, int]) -> onnx.ModelProto:
    """Return a copy with inputs of QuantizeLinear changed by ± ``share`` of its step, at random along the last axis.

    Values whose last extent is unknown, and those with a scale per channel, are not changed.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    random = np.random.default_rng(seed)
    extents = _last_extents(model.graph)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for number, node in enumerate(model.graph.node):
        kept = onnx.NodeProto.FromString(node.SerializeToString())
        value, scale = (*kept.input[:2], "", "")[:2]
        is_one_step = scale in weights and not any(extent != 1 for extent in weights[scale].dims)
        if node.op_type == "QuantizeLinear" and is_one_step and types.get(value) == TensorProto.FLOAT:
            moves = ((2 * random.integers(0, 2, extents.get(value, 0)) - 1) * share).astype(np.float32)
            if moves.size:
                names = [f"{value}/{word} {number}" for word in ("share", "move", "moved")]
                copy.graph.initializer.append(numpy_helper.from_array(moves, names[0]))
                nodes.append(helper.make_node("Mul", [names[0], scale], [names[1]]))
                nodes.append(helper.make_node("Add", [value, names[1]], [names[2]]))
                kept.input[0] = names[2]
        nodes.append(kept)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _last_extents(graph: onnx.GraphProto) -> dict[str, int]:
    """Return {value: extent of its last axis} where that is known."""
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[-1].HasField("dim_value"):
            found[value.name] = dims[-1].dim_value
    return found


def explains(moved: Difference | None, error: Difference) -> bool:
    """Return whether a disturbance changes the result by at least a tenth of the error: it is one of many paths."""
    if moved is None or (error.problem and not moved.problem):
        return False
    if moved.problem:
        return True  # even the shape depends on the rounding
    if error.non_finite_count and not moved.non_finite_count:
        return False
    if error.is_discrete:
        return 10 * moved.differing_count >= error.differing_count and 10 * moved.max_absolute >= error.max_absolute
    return 10 * moved.max_absolute >= error.max_absolute
