"""Branches, loops, scans and calls: nodes whose bodies are made by the same rules."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from tests.fuzz.generator.builder import FLOATS, Builder, Value
from tests.fuzz.generator.operators import PLAIN, Rule

DEEPEST = 2
"""Bodies within bodies."""


def grow(builder: Builder, node_count: int, rules: Sequence[Rule]) -> None:
    """Add nodes until there are so many."""
    attempts = 0
    while len(builder.nodes) < node_count and attempts < 10 * node_count:
        builder.draw.choice(rules)(builder)
        attempts += 1


def _rules(depth: int) -> tuple[Rule, ...]:
    return (*PLAIN, *CONTROL_FLOW) if depth < DEEPEST else PLAIN


def _grown(outer: Builder, inputs: Sequence[Value] = ()) -> Builder:
    """Make a body of a few nodes that reads its inputs and the outer values."""
    body = outer.body()
    body.values += inputs
    grow(body, outer.draw.randint(1, 4), _rules(body.depth))
    return body


def _graph(body: Builder, inputs: Sequence[Value], outputs: Sequence[Value]) -> onnx.GraphProto:
    return helper.make_graph(
        body.nodes, body.name(), [each.info() for each in inputs], [each.info() for each in outputs]
    )


def _result(body: Builder, element: int, shape: tuple[int, ...]) -> Value:
    """An output of a body, made by a node of the body itself."""
    fitted = body.fit(body.draw.choice(body.values), element, shape)
    return body.add("Identity", [fitted], element, shape)


def branch(b: Builder) -> bool:
    """An If whose branches read what they like of the outer graph."""
    value = b.pick(FLOATS)
    if value is None:
        return False
    number = b.fit(value, TensorProto.FLOAT, ())
    condition = b.add("Greater", [number, b.weight(TensorProto.FLOAT, ())], TensorProto.BOOL, ())
    bodies = []
    for _ in range(2):
        body = _grown(b)
        bodies.append(_graph(body, [], [_result(body, value.element, value.shape)]))
    b.add("If", [condition], value.element, value.shape, then_branch=bodies[0], else_branch=bodies[1])
    return True


def loop(b: Builder) -> bool:
    """A Loop with one carried value and one that is collected."""
    value = b.pick((TensorProto.FLOAT, TensorProto.INT64))
    if value is None:
        return False
    trip_count = b.draw.randint(1, 3)
    step, go = Value(b.name(), TensorProto.INT64, ()), Value(b.name(), TensorProto.BOOL, ())
    before = Value(b.name(), value.element, value.shape)
    body = _grown(b, [step, before])
    outputs = [
        body.add("Identity", [go], TensorProto.BOOL, ()),
        _result(body, value.element, value.shape),
        _result(body, value.element, value.shape),
    ]
    b.add_many(
        "Loop",
        [b.integers(trip_count), None, value],
        [(value.element, value.shape), (value.element, (trip_count, *value.shape))],
        body=_graph(body, [step, go, before], outputs),
    )
    return True


def scan(b: Builder) -> bool:
    """A Scan over the first axis of a value, without a state."""
    value = b.pick((TensorProto.FLOAT,), range(1, 5))
    if value is None:
        return False
    row = Value(b.name(), value.element, value.shape[1:])
    body = _grown(b, [row])
    graph = _graph(body, [row], [_result(body, value.element, row.shape)])
    b.add("Scan", [value], value.element, value.shape, body=graph, num_scan_inputs=1)
    return True


def call(b: Builder) -> bool:
    """A call of a model-local function of two operators; made with its first call."""
    value = b.pick((TensorProto.FLOAT,))
    if value is None:
        return False
    name = b.draw.choice(["Half", "Whole"])
    if name not in {function.name for function in b.functions}:
        nodes = [helper.make_node("Sigmoid", ["x"], ["h"]), helper.make_node("Mul", ["h", "x"], ["y"])]
        imports = [helper.make_opsetid("", 21)]
        b.functions.append(helper.make_function("own", name, ["x"], ["y"], nodes, imports))
    b.add(name, [value], value.element, value.shape, domain="own")
    return True


CONTROL_FLOW: tuple[Rule, ...] = (branch, loop, scan, call)
