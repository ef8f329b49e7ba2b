"""Models through the command line: compiled into several slices on two real devices, and verified.

Each command runs in a process of its own, as a user's does, so that a native crash is one test's failure.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.corpus.catalog import MODELS, NEGATIVE, OWN_FEW, every_model, model_path, outside

pytestmark = pytest.mark.provider("openvino")

QUICK = ["mnist8"]
"""An old IR; every other model of the outside data is compiled in `make test-corpus`."""
DEVICES = ("cpu", "openvino")
COMMAND = Path(sys.executable).with_name("mosaic-onnx")
REFUSAL_S = 30.0
"""A model that must be refused is refused within this; processor time, so that a busy machine fails no test."""
LIMIT_S = 600.0
"""No command hangs."""
NAMED = {
    "mnist_opset1_neg": "Plus30",
    "dscnn_int8conv_neg": "TFLITE2ONNX_FAF_functional_1",
    "glm_tiny_qmoe_ext": "IndexShare",
    "opset01_coverage_neg": "batchnormalization_node",
    "opset22_coverage_neg": "bernoulli_node",
    "nested_if_loop_scan_neg": "outer_if",
}
"""{negative model: the words that its refusal contains}."""


@dataclass(frozen=True)
class Said:
    """The output of one command."""

    exit_code: int
    out: str
    errors: str


def mosaic(folder: Path, *words: str | Path) -> Said:
    """Run ``mosaic-onnx``; measurements are kept in the folder unless the environment says where."""
    cache = os.environ.get("MOSAIC_CACHE_DIR", str(folder / "cache"))
    done = subprocess.run(
        [COMMAND, *map(str, words)],
        env={**os.environ, "MOSAIC_CACHE_DIR": cache, "NO_COLOR": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def compile_and_verify(name: str, folder: Path, *words: str) -> dict[str, object]:
    """The plan of a model that was compiled and verified with exit code 0."""
    bundle = folder / "bundle.mosaic"
    said = mosaic(folder, "compile", model_path(name, folder), "-d", ",".join(DEVICES), "-o", bundle, *words)
    assert said.exit_code == 0, said.errors
    said = mosaic(folder, "verify", bundle)
    assert said.exit_code == 0, said.errors
    plan: dict[str, object] = json.loads((bundle / "plan.json").read_text())
    return plan


def check_slices(name: str, folder: Path) -> None:
    plan = compile_and_verify(name, folder, "--min-slices", "3")
    slices = plan["slices"]
    assert isinstance(slices, list)
    layer_count = sum(len(one["layers"]) for one in slices)
    assert len(slices) >= min(3, layer_count)


@pytest.mark.parametrize("name", every_model(QUICK, OWN_FEW))
def test_a_model_compiles_into_slices_and_verifies(name: str, tmp_path: Path) -> None:
    check_slices(name, tmp_path)


def drawn_pins(profile: dict[str, object], seed: int) -> tuple[list[str], dict[str, str]]:
    """Runs of layers pinned to devices drawn by chance; layers that the device refuses are left alone.

    Returns:
        Words of the command line, and the device of each pinned layer.
    """
    draw = random.Random(seed)
    layers = profile["layers"]
    assert isinstance(layers, list)
    length = max(1, len(layers) // draw.choice([4, 8, 16, len(layers)]))
    pinned = {}
    for start in range(0, len(layers), length):
        device = draw.choice(DEVICES)
        run = layers[start : start + length]
        pinned.update({layer["name"]: device for layer in run if layer["cost"].get(device) and not layer.get("group")})
    words = []
    for device in DEVICES:
        names = [re.escape(name) for name, one in pinned.items() if one == device]
        words += ["--pin", f"^({'|'.join(names)})$={device}"] if names else []
    return words, pinned


def check_pinned(name: str, folder: Path, seed: int) -> None:
    measured = folder / "profile.json"
    said = mosaic(folder, "profile", model_path(name, folder), "-d", ",".join(DEVICES), "-o", measured)
    assert said.exit_code == 0, said.errors
    profile = json.loads(measured.read_text())
    words, pinned = drawn_pins(profile, seed)
    plan = compile_and_verify(name, folder, *words, "--no-fallback")
    slices = plan["slices"]
    assert isinstance(slices, list)
    names = [layer["name"] for layer in profile["layers"]]
    placed = {names[layer]: one["state"] for one in slices for layer in one["layers"]}
    assert {layer: placed[layer] for layer in pinned} == pinned


@pytest.mark.parametrize("name", every_model([], ["own/attention"], large=False))
def test_layers_pinned_by_chance_run_where_they_are_pinned(name: str, tmp_path: Path) -> None:
    check_pinned(name, tmp_path, seed=len(name))


@pytest.mark.parametrize("name", outside(NEGATIVE))
def test_a_negative_model_is_refused_with_the_thing_named(name: str, tmp_path: Path) -> None:
    before = os.times()
    said = mosaic(tmp_path, "compile", MODELS / f"{name}.onnx", "-d", "cpu,openvino", "-o", tmp_path / "out.mosaic")
    after = os.times()
    took_s = after.children_user + after.children_system - before.children_user - before.children_system
    assert said.exit_code in (1, 3), said.errors
    assert NAMED[name] in said.errors
    assert took_s < REFUSAL_S
    assert not (tmp_path / "out.mosaic").exists()
