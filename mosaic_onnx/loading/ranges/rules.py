"""The ranges that each operator demands of its inputs: the rules that ``trace`` applies backwards.

A rule takes a :class:`NodeContext` and returns pairs (tensor name, range). An operator without a rule demands nothing,
unless its output is an index: then its integer inputs are kept to 0 and 1 (``node_context.careful``).
"""

from __future__ import annotations

from collections.abc import Mapping

from mosaic_onnx.loading.ranges import arithmetic
from mosaic_onnx.loading.ranges.node_context import SMALL_SIZE, Asked, NodeContext, Rule
from mosaic_onnx.loading.ranges.value_range import INFINITY, Range, exactly, up_to


def _passing(*indices: int) -> Rule:
    """Return the rule of operators whose output holds elements of these inputs, unchanged."""

    def rule(context: NodeContext) -> Asked:
        asked = context.output_range()
        return [(context.input(index), asked) for index in indices] if asked is not None else []

    return rule


def _passing_all(context: NodeContext) -> Asked:
    asked = [each for index in range(len(context.node.output)) if (each := context.output_range(index)) is not None]
    return [(name, each) for name in context.node.input for each in asked]


def _both(*rules: Rule) -> Rule:
    return lambda context: [pair for rule in rules for pair in rule(context)]


def _fixed(asked: Mapping[int, Range]) -> Rule:
    """Return the rule that demands the same range in every context."""
    return lambda context: [(context.input(index), each) for index, each in asked.items()]


def _integers_fixed(asked: Mapping[int, Range]) -> Rule:
    return lambda context: [(context.input(index), each) for index, each in asked.items() if context.is_integer(index)]


def _gather(context: NodeContext) -> Asked:
    count = context.dim(0, context.integer("axis", 0))
    return [(context.input(1), up_to(count - 1))] if count else []


def _gather_nd(context: NodeContext) -> Asked:
    data, indices, batch = context.shape(0), context.shape(1), context.integer("batch_dims", 0)
    if not data:
        return []
    width = indices[-1] if indices else 1
    return [(context.input(1), up_to(min(data[batch : batch + width], default=1) - 1))]


def _one_hot(context: NodeContext) -> Asked:
    depth = context.ends(1)
    return [(context.input(0), up_to((depth[0] if depth else 2) - 1)), (context.input(1), Range(2, SMALL_SIZE))]


def _equal(context: NodeContext) -> Asked:
    for mine, other in ((0, 1), (1, 0)):
        value = context.known.get(context.input(other)) if context.input(other) else None
        if value is not None and value.size == 1 and value.dtype.kind in "iuf" and context.is_integer(mine):
            return [(context.input(mine), Range(choices=(float(value.reshape(-1)[0]),)))]
    return []


def _reshape(context: NodeContext) -> Asked:
    target = context.shape(1)
    keep = exactly(-1) if target == (1,) else exactly(0)
    return [*_passing(0)(context), (context.input(1), keep)]


def _slice(context: NodeContext) -> Asked:
    sizes = context.shape(0)
    most = min(sizes) if sizes else SMALL_SIZE
    rank = len(sizes) if sizes else 1
    asked = [
        (context.input(1), exactly(0)),
        (context.input(2), Range(1, max(1, most))),
        (context.input(3), up_to(rank - 1)),
    ]
    return [*_passing(0)(context), *asked, (context.input(4), exactly(1))]


def _top_k(context: NodeContext) -> Asked:
    count = context.dim(0, context.integer("axis", -1))
    return [*_passing(0)(context), (context.input(1), Range(1, count or 1))]


def _sequence_lengths(index: int, axis: int) -> Rule:
    """Return the rule for sequence lengths: from 1 to a dimension of the first input."""
    return lambda context: [(context.input(index), Range(1, context.dim(0, axis) or 1))]


def _embed_layer_normalization(context: NodeContext) -> Asked:
    tables = ((0, 2), (1, 4), (8, 3))
    asked: Asked = [(context.input(ids), up_to((context.dim(table, 0) or 2) - 1)) for ids, table in tables]
    return [*asked, (context.input(7), exactly(1))]


def _rotary(ids: int, table: int) -> Rule:
    """Return the rule of rotary embeddings: positions are rows of the table, an offset leaves room for the rest."""

    def rule(context: NodeContext) -> Asked:
        rows = context.dim(table, 0) or 2
        offset_only = context.shape(ids) in ((), (1,))
        shape = context.shape(0) or (1, 1)
        room = shape[-2] if offset_only and len(shape) > 1 else 1
        return [(context.input(ids), up_to(rows - room))]

    return rule


def _group_query_attention(context: NodeContext) -> Asked:
    new, past, given = context.dim(0, 1), context.dim(3, 2), context.ends(6)
    if new is None:
        return []
    total = given[0] if given else new + (past or 0)  # a shared buffer holds the new tokens too
    return [(context.input(5), exactly(total - 1)), (context.input(6), exactly(total))]


def _attention(context: NodeContext) -> Asked:
    length = context.dim(1, -2)
    return [(context.input(6), Range(min(context.dim(0, -2) or 1, length), length))] if length else []


def _tensor_scatter(context: NodeContext) -> Asked:
    axis = context.integer("axis", -2)
    whole, new = context.dim(0, axis), context.dim(1, axis)
    return [(context.input(2), up_to((whole or 1) - (new or 1)))]


def _search(context: NodeContext) -> Asked:
    """Return the ranges of BeamSearch, GreedySearch and Sampling: a few tokens more than given, two beams."""
    given = context.dim(0, 1) or 1
    asked = {1: Range(given + 2, given + 4), 2: exactly(1), 3: exactly(2), 4: exactly(1), 5: exactly(1), 6: exactly(1)}
    vocabulary = context.integer("vocab_size", 0)
    ids = [(context.input(0), up_to(vocabulary - 1))] if vocabulary > 0 else []
    return [*ids, *_fixed(asked)(context)]


def _quantizes(context: NodeContext) -> Asked:
    return [(context.input(1), Range(0.01, 0.1))]


def _domain(low: float, high: float = INFINITY) -> Rule:
    return lambda context: [(context.input(0), Range(low, high, domain=True))]


_SIZES = Range(1, SMALL_SIZE)
_COPYING = (
    *("Identity", "Cast", "CastLike", "Squeeze", "Transpose", "Flatten", "DepthToSpace", "SpaceToDepth", "Compress"),
    *("Dropout", "ReverseSequence", "Floor", "Ceil", "Round", "ReduceMax", "ReduceMin", "ReduceMean", "Abs"),
)
"""Operators whose output holds the first input's elements, or values within their range."""

RULES: Mapping[str, Rule] = {
    **{name: _passing(0) for name in _COPYING},
    "Gather": _both(_gather, _passing(0)),
    "GatherElements": _both(_gather, _passing(0)),
    "GatherBlockQuantized": _gather,
    "GatherND": _both(_gather_nd, _passing(0)),
    "Scatter": _both(_gather, _passing(0, 2)),
    "ScatterElements": _both(_gather, _passing(0, 2)),
    "ScatterND": _both(_gather_nd, _passing(0, 2)),
    "OneHot": _one_hot,
    "EmbedLayerNormalization": _embed_layer_normalization,
    "Concat": _passing_all,
    "Max": _passing_all,
    "Min": _passing_all,
    "Split": _passing_all,
    "Where": _passing(1, 2),
    "Unsqueeze": _both(_passing(0), _fixed({1: exactly(0)})),
    "Pad": _both(_passing(0), _fixed({1: up_to(1)})),
    "Add": arithmetic.add,
    "Sub": arithmetic.sub,
    "Mul": arithmetic.mul,
    "Div": arithmetic.div,
    "Mod": arithmetic.mod,
    "Neg": arithmetic.neg,
    "Clip": arithmetic.clip,
    "Pow": _integers_fixed({1: up_to(3)}),
    "BitShift": _fixed({1: up_to(7)}),
    "ReduceSum": arithmetic.reduce_sum,
    "CumSum": arithmetic.cumsum,
    "Equal": _equal,
    "Reshape": _reshape,
    "Slice": _slice,
    "TopK": _top_k,
    "Expand": _both(_passing(0), _fixed({1: exactly(1)})),
    "Tile": _both(_passing(0), _fixed({1: Range(1, 2)})),
    "ConstantOfShape": _fixed({0: _SIZES}),
    "Range": _integers_fixed({0: exactly(0), 1: _SIZES, 2: exactly(1)}),
    "Loop": _fixed({0: _SIZES}),
    "NonMaxSuppression": _fixed({2: _SIZES, 3: Range(0.1, 0.9), 4: Range(0, 0.1)}),
    "Trilu": _both(_passing(0), _fixed({1: up_to(1)})),
    "SequenceAt": _fixed({1: exactly(0)}),
    "STFT": _fixed({1: Range(4, 16), 3: Range(4, 16)}),
    "DFT": _fixed({1: Range(4, 16)}),
    "LSTM": _sequence_lengths(4, 0),
    "GRU": _sequence_lengths(4, 0),
    "RNN": _sequence_lengths(4, 0),
    "RoiAlign": lambda context: [(context.input(2), up_to((context.dim(0, 0) or 1) - 1))],
    "RotaryEmbedding": lambda context: (_rotary(1, 2) if context.node.domain == "com.microsoft" else _rotary(3, 1))(
        context
    ),
    "GroupQueryAttention": _group_query_attention,
    "Attention": lambda context: [] if context.node.domain == "com.microsoft" else _attention(context),
    "TensorScatter": _tensor_scatter,
    "BeamSearch": _search,
    "GreedySearch": _search,
    "Sampling": _search,
    "QuantizeLinear": _quantizes,
    "DequantizeLinear": _quantizes,
    "Bernoulli": _domain(0, 1),
    "Sqrt": _domain(0),
    "Log": _domain(1e-3),
    "Acos": _domain(-1, 1),
    "Asin": _domain(-1, 1),
    "Atanh": _domain(-0.99, 0.99),
    "Acosh": _domain(1),
}
