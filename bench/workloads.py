"""The models that benchmarks run: classic networks with seeded weights, the shared corpus, the paper's ten."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from mosaic_onnx.zoo import build

SHARED = Path(os.environ.get("MOSAIC_SHARED", Path(__file__).parents[2] / "shared"))
EVERY = os.environ.get("MOSAIC_BENCH_MODELS") == "all"
"""Environment variable: run all models, not only a short selection."""
CLASSIC = (
    *("squeezenet", "inception_v1", "bvlc_alexnet", "zfnet512", "resnet50"),
    *("inception_v2", "densenet121", "shufflenet", "vgg19"),
)
"""The onnx wheel's nine models; their weights are seeded by their names."""
PAPER = (
    *("mobilenet_v2_1.0", "mnasnet_0.5", "inception_v4", "squeezenet"),
    *("mobilenet_v2_1.3", "mobilenet_v2_1.4", "mnasnet_1.0", "mnasnet_1.3", "resnet_v2_152", "vgg16"),
)
"""The paper's ten."""
CORPUS = ("vespa_transformer_mlm", "yolox_nano", "twinlitenet_fp32")
_LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True)
class Workload:
    """A model file and its name."""

    name: str
    path: Path


def classic(names: Iterable[str], folder: Path) -> Iterator[Workload]:
    """Yield networks of the onnx wheel with seeded weights; none where the tool that makes the weights is absent."""
    tool = SHARED / "tools" / "fill_weights.py"
    for name in names if tool.is_file() else ():
        target = folder / f"{name}.onnx"
        if not target.is_file():
            subprocess.run([sys.executable, tool, "light", _LIGHT / f"light_{name}.onnx", target], check=True)
        yield Workload(name, target)


def paper(names: Iterable[str], folder: Path) -> Iterator[Workload]:
    """Yield workloads of the paper, built with seeded weights."""
    for name in names:
        target = folder / f"paper_{name}.onnx"
        if not target.is_file():
            onnx.save(build(name), target)
        yield Workload(f"paper's {name}", target)


def corpus(names: Iterable[str]) -> Iterator[Workload]:
    """Yield models of the shared corpus; those that are absent are left out."""
    for name in names:
        path = SHARED / "models" / f"{name}.onnx"
        if path.is_file():
            yield Workload(name, path)


def absent() -> str:
    """Return why the classic networks are not available; empty where they are."""
    tool = SHARED / "tools" / "fill_weights.py"
    return "" if tool.is_file() else "skipped: shared/tools/fill_weights.py is absent (set MOSAIC_SHARED)"
