"""The work of a decoder's layers: weights, arithmetic and memory traffic, by the usual counts.

A layer with ``n`` weights does 2·n operations for each token (a multiplication and an addition a weight), attention
4·tokens·context·heads·dimension besides. Weights are read once for each call, whatever the number of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from mosaic_onnx.importers.decoder.file import Decoder, Experts


@dataclass(frozen=True)
class Call:
    """One call of the model.

    Attributes:
        token_count: tokens that pass through it.
        context_count: tokens that attention looks at, mean over those tokens.
    """

    token_count: int
    context_count: float


@dataclass(frozen=True)
class LayerWork:
    """One layer's work.

    Attributes:
        name: ``blocks.3/attention``.
        inputs: tensors that it reads.
        output: the tensor that it makes.
        weight_count: its weights.
        kept_bytes: memory that it holds between calls besides: keys and values of the whole context.
        flop_count: operations of one call.
        read_bytes: memory traffic of one call: weights, keys and values, activations.
        op_types: the operators.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    weight_count: int
    kept_bytes: int
    flop_count: float
    read_bytes: float
    op_types: tuple[str, ...]


def layers_of(decoder: Decoder, call: Call, most_context_count: int) -> tuple[LayerWork, ...]:
    """Return the work of every layer in one call: embedding, the blocks' parts in order, head.

    Args:
        decoder: the architecture.
        call: how many tokens pass.
        most_context_count: tokens whose keys and values are kept.
    """
    build = _Builder(decoder, call, most_context_count)
    tokens = call.token_count
    table = decoder.vocabulary * decoder.hidden
    build.add("embed", ("tokens",), "h0", table, ("Gather",), flops=0.0, weights_read=tokens * decoder.hidden)
    for number in range(decoder.block_count):
        build.block(number)
    build.add("head", (f"h{decoder.block_count}",), "logits", table, ("MatMul",), flops=2.0 * table)
    return tuple(build.layers)


class _Builder:
    """Collects layers; the head sees one token, whatever the call's number."""

    def __init__(self, decoder: Decoder, call: Call, most_context_count: int) -> None:
        self.decoder, self.call, self.most = decoder, call, most_context_count
        self.layers: list[LayerWork] = []

    def block(self, number: int) -> None:
        """Add attention and the feed-forward network of one block."""
        decoder, tokens = self.decoder, self.call.token_count
        hidden, heads = decoder.hidden, decoder.head_count * decoder.head_dimension
        kv = decoder.kv_head_count * decoder.head_dimension
        weights = 2 * hidden * heads + 2 * hidden * kv + hidden
        cached = 2 * kv * decoder.bytes_per_activation
        self.add(
            f"blocks.{number}/attention",
            (f"h{number}",),
            f"a{number}",
            weights,
            ("Attention",),
            flops=2.0 * weights * tokens + 4.0 * tokens * self.call.context_count * heads,
            kept=int(cached * self.most),
            extra_read=cached * self.call.context_count,
        )
        if decoder.experts is not None:
            self._experts(number, decoder.experts)
        else:
            size = 3 * hidden * (decoder.feed_forward or 0) + hidden
            self.add(
                f"blocks.{number}/feed_forward",
                (f"a{number}",),
                f"h{number + 1}",
                size,
                ("MatMul", "Mul"),
                flops=2.0 * size * tokens,
            )

    def _experts(self, number: int, experts: Experts) -> None:
        """Add routed experts, and the shared network with the sum; of the experts those that some token asks for."""
        hidden, tokens = self.decoder.hidden, self.call.token_count
        one = 3 * hidden * experts.dimension
        touched = experts.count * (1.0 - (1.0 - experts.active / experts.count) ** tokens)
        router = hidden * experts.count
        self.add(
            f"blocks.{number}/experts",
            (f"a{number}",),
            f"e{number}",
            experts.count * one + router,
            ("MoE",),
            flops=2.0 * tokens * (experts.active * one + router),
            weights_read=touched * one + router,
        )
        shared = 3 * hidden * experts.shared_dimension + 2 * hidden
        self.add(
            f"blocks.{number}/shared",
            (f"a{number}", f"e{number}"),
            f"h{number + 1}",
            shared,
            ("MatMul", "Mul", "Add"),
            flops=2.0 * shared * tokens,
        )

    def add(
        self,
        name: str,
        inputs: tuple[str, ...],
        output: str,
        weight_count: int,
        op_types: tuple[str, ...],
        *,
        flops: float,
        weights_read: float | None = None,
        kept: int = 0,
        extra_read: float = 0.0,
    ) -> None:
        decoder = self.decoder
        read = (weight_count if weights_read is None else weights_read) * decoder.bits_per_weight / 8
        activations = 2 * self.call.token_count * decoder.hidden * decoder.bytes_per_activation
        self.layers.append(
            LayerWork(name, inputs, output, weight_count, kept, flops, read + extra_read + activations, op_types)
        )
