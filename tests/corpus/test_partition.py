"""Every model cut by chance gives the same bits as the original, in stock ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaic_onnx.loading.model import open_model, runtime_accepts
from tests.corpus.catalog import every_model, model_path
from tests.corpus.partition_checks import check_partitions

QUICK = ["micro_kws_qdq", "silero_vad_op15", "llama_tiny_fp16_ext", "loop_decoder", "dit_tiny_op24", "mnist8"]
"""Quantised, nested branches, external data, loops that no function holds, local functions, old IR."""
OTHER_BITS = {
    "bert_toy": "ONNX Runtime fuses SkipLayerNormalization only where the graph declares the value's shape, "
    "and functions are inlined without their declarations",
}
"""Optimised bits differ in the last place; unoptimised ones do not."""


@pytest.mark.parametrize("name", every_model(QUICK))
def test_a_partitioned_model_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    path = model_path(name, tmp_path)
    refusal = runtime_accepts(open_model(path))
    if refusal:
        pytest.skip(f"ONNX Runtime refuses the original: {refusal[:100]}")
    check_partitions(path, range(1) if name in QUICK else range(2), tmp_path, optimise=path.stem not in OTHER_BITS)
