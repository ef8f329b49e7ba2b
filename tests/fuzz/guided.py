"""Fuzz files with coverage guidance: ``python -m tests.fuzz.guided TARGET -max_total_time=60`` (libFuzzer's options).

Needs the extra ``fuzz`` (atheris: CPython up to 3.13 on Linux). Contents that reach new code are changed further, by
the same changes as elsewhere; what fails is written as ``crash-…`` to the folder ``.fuzz/``.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mosaic_onnx.files", "mosaic_onnx.importers", "mosaic_onnx.loading"]):
    import mosaic_onnx.files.bundle
    import mosaic_onnx.importers
    import mosaic_onnx.loading.model  # noqa: F401  # imported to be instrumented

import pytest

from tests.fuzz.files.targets import Target, targets
from tests.in_process import check_in_process

FOUND = Path(".fuzz")


def corpus_of(name: str, target: Target) -> Path:
    """Write the sound contents where the fuzzer starts from."""
    folder = FOUND / f"corpus-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (folder / f"sound-{number}").write_bytes(seed)
    return folder


def main() -> None:
    """Fuzz one target until libFuzzer ends."""
    name, *options = sys.argv[1:]
    target = targets()[name]

    def mutate(content: bytes, limit: int, seed: int) -> bytes:
        return target.mutate(content or target.seeds[0], random.Random(seed))[:limit]

    def read(content: bytes) -> None:
        target.read(content)

    words = [sys.argv[0], str(corpus_of(name, target)), f"-artifact_prefix={FOUND}/", "-max_len=100000", *options]
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_in_process(monkeypatch)
        atheris.Setup(words, read, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
