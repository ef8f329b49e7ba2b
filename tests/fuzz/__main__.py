"""Fuzz for as long as wanted: ``python -m tests.fuzz graphs|files [TARGET …] --minutes N [--seed S]``.

What fails is written to the folder ``.fuzz/``, and named; a graph's seed gives the same graph again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.differential import check_compiled, check_rewriting, runs_in_onnx_runtime
from tests.fuzz.files.targets import targets
from tests.fuzz.generator.models import random_model
from tests.in_process import check_in_process

FOUND = Path(".fuzz")
COMPILED_SHARE = 0.1
"""Of the graphs; compiling one takes ten times as long as cutting it."""


def fuzz_graphs(minutes: float, first_seed: int) -> int:
    """Check random graphs until the time is over; returns how many failed."""
    counts: Counter[str] = Counter()
    until_s = time.monotonic() + 60 * minutes
    for seed in range(first_seed, sys.maxsize):
        if time.monotonic() > until_s:
            break
        model = random_model(seed)
        check = check_compiled if random.Random(seed).random() < COMPILED_SHARE else check_rewriting
        try:
            if not runs_in_onnx_runtime(model):
                counts["refused by ONNX Runtime"] += 1
                continue
            with tempfile.TemporaryDirectory() as folder:
                check(model, Path(folder))
            counts[f"right: {check.__name__}"] += 1
        except Exception:  # whatever it is, it is what we look for
            counts["failed"] += 1
            _keep(f"graph-{seed}.onnx", model.SerializeToString(), f"seed {seed}, {check.__name__}")
    print(f"graphs, seeds from {first_seed}: {dict(counts)}")
    return counts["failed"]


def fuzz_files(minutes: float, seed: int, names: list[str]) -> int:
    """Change files until the time is over, shared equally by the targets; returns how many kinds of error came up."""
    failed = 0
    for name in names:
        target, draw = targets()[name], random.Random(seed)
        counts: Counter[str] = Counter()
        seen: set[str] = set()
        until_s = time.monotonic() + 60 * minutes / len(names)
        while time.monotonic() < until_s:
            content = draw.choice(target.seeds)
            for _ in range(draw.choice([1, 1, 1, 2, 3])):
                content = target.mutate(content, draw)
            try:
                counts["taken" if target.read(content) else "refused"] += 1
            except Exception as error:  # whatever it is, it is what we look for
                counts["failed"] += 1
                kind = f"{type(error).__name__} at {traceback.extract_tb(error.__traceback__)[-1][:2]}"
                if kind not in seen:
                    seen.add(kind)
                    _keep(f"{name}-{len(seen)}", content, f"{name}: {kind}")
        print(f"{name}: {dict(counts)}", flush=True)
        failed += len(seen)
    return failed


def _keep(name: str, content: bytes, what: str) -> None:
    FOUND.mkdir(exist_ok=True)
    (FOUND / name).write_bytes(content)
    print(f"failed: {what}; kept as {FOUND / name}\n{traceback.format_exc()}", flush=True)


def main() -> int:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kind", choices=["graphs", "files"])
    parser.add_argument("targets", nargs="*", help="kinds of files; all of them by default")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="the first seed; by default, the clock decides")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    names = options.targets or list(targets())
    if strange := set(names) - set(targets()):
        parser.error(f"no such target: {', '.join(sorted(strange))} (there are: {', '.join(targets())})")
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_in_process(monkeypatch)
        graphs = options.kind == "graphs"
        failed = fuzz_graphs(options.minutes, seed) if graphs else fuzz_files(options.minutes, seed, names)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
