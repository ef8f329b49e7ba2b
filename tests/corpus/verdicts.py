"""Verdicts of tests of models, kept by what decides them: the code, and the content of the model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.corpus.catalog import MODELS

ROOT = Path(__file__).parents[2]
_SOURCES = ("mosaic_onnx", "passes", "backends", "tests/corpus")
_OUTCOMES = ("passed", "failed", "skipped")


@dataclass
class Verdicts:
    """The verdicts on this code: one line of JSON each, of which the last counts.

    Attributes:
        file: where verdicts of this code are kept.
        known: by test, model and the digest of the model.
    """

    file: Path
    known: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Verdicts:
        """Read what was kept for the code as it is now."""
        folder.mkdir(parents=True, exist_ok=True)
        found = cls(folder / f"{code_digest()[:16]}.jsonl")
        lines = found.file.read_text("utf-8").splitlines() if found.file.is_file() else []
        for entry in map(json.loads, lines):
            found.known[entry["test"], entry["model"], entry["sha256"]] = entry["verdict"]
        return found

    def passed(self, test: str, model: str) -> bool:
        """Return whether a test has passed with this code and this content of the model."""
        return self.known.get((test, model, model_digest(model))) == "passed"

    def keep(self, test: str, model: str, verdict: str) -> None:
        """Append a verdict; several processes may do so at once."""
        entry = {"test": test, "model": model, "sha256": model_digest(model), "verdict": verdict}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def table(self) -> str:
        """Return how many models came to which verdict, test by test, and the names of those that failed."""
        counts = Counter((test, verdict) for (test, _, _), verdict in self.known.items())
        tests = sorted({test for test, _ in counts})
        width = max(map(len, tests), default=0)
        lines = [f"{'verdicts with this code':<{width}}  {'  '.join(f'{each:>7}' for each in _OUTCOMES)}"]
        for test in tests:
            lines.append(f"{test:<{width}}  {'  '.join(f'{counts[test, each]:>7}' for each in _OUTCOMES)}")
        failed = sorted(f"{test}[{model}]" for (test, model, _), each in self.known.items() if each == "failed")
        return "\n".join(["", *lines, *(f"failed: {name}" for name in failed)])


@cache
def code_digest() -> str:
    """Return the digest of the code that a verdict depends on: the package and the tests of models."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def model_digest(name: str) -> str:
    """Return the digest of a model of the shared corpus with its external data; others are made by the code."""
    digest = hashlib.sha256(name.encode())
    path = MODELS / f"{name}.onnx"
    for part in (path, path.with_name(f"{path.name}.data")):
        if name and part.is_file():
            digest.update(part.read_bytes())
    return digest.hexdigest()
