"""Decoders whose weights exceed the GPU, beside the CPU: our placement against two usual ones and the proved bound.

Described devices and modelled costs (``import decoder``), simulated: nothing runs. One request is a prompt of 512
tokens and 128 tokens after it, one placement for both. The bars: no baseline is faster, and the gap to the bound is at
most 2 %.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench.report import Row
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.importers.decoder.file import read_decoder, read_machine
from mosaic_onnx.importers.decoder.profile import import_decoder, shape_profile
from mosaic_onnx.importers.decoder.work import Call
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve

DECODERS = ("qwen1.5-moe-a2.7b", "llama-3.1-8b", "qwen2.5-32b-q4", "llama-3.1-70b-q4")
MEMORY_GIB = (6, 8, 12)
BASELINES = ("ort-capacity:gpu", "first-n-layers:gpu")
PROMPT, TOKENS = 512, 128
LIMIT_S = 10.0
GAP_BAR = 2.0


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for name in DECODERS[: 2 if quick else None]:
        profile = import_decoder(Path(name), prompt_count=PROMPT, token_count=TOKENS)
        for memory in MEMORY_GIB:
            caps = Constraints(memory_bytes={"gpu": memory << 30})
            table = cost_table(constrain(profile, caps))
            rows += rows_of(name, f"{name}, {memory} GiB", table)
    return rows


def rows_of(name: str, title: str, table: CostTable) -> list[Row]:
    """Our plan's time with its gap, and its ratio to each baseline."""
    began = time.monotonic()
    ours = solve(table, Request(time_limit_s=LIMIT_S))
    wall_s = time.monotonic() - began
    gap = None if ours.plan.gap is None else 100 * ours.plan.gap
    note = f"{1 / decode_s(name, ours.proposal):.2f} tokens/s; {len(ours.proposal)} slices; planned in {wall_s:.1f} s"
    rows = [
        Row(f"{title}: plan", ours.timeline.seconds, "s", note=note),
        Row(f"{title}: gap to the bound", float("inf") if gap is None else gap, "%", bar=GAP_BAR),
    ]
    for method in BASELINES:
        other = solve(table, Request(method=method))
        ratio = ours.timeline.seconds / other.timeline.seconds
        tokens = f"{other.timeline.seconds:.2f} s; {1 / decode_s(name, other.proposal):.2f} tokens/s"
        rows.append(Row(title, ratio, "ratio", bar=1.0 + 1e-9, against=method, ratio=ratio, note=tokens))
    return rows


def decode_s(name: str, proposal: Proposal) -> float:
    """Seconds of one token after the prompt, under a placement."""
    machine = read_machine("desktop-8gb")
    uncapped = [device.model_copy(update={"memory_bytes": None}) for device in machine.devices]
    described = machine.model_copy(update={"devices": uncapped})
    decode = shape_profile(read_decoder(name), described, Call(1, PROMPT + (TOKENS + 1) / 2), PROMPT + TOKENS)
    return simulate(cost_table(decode), proposal).seconds
