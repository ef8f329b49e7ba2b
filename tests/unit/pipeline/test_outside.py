"""Passes from outside: a package that is installed beside mosaic-onnx, and passes handed to compile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import onnx
import onnx.parser
import pytest

from mosaic_onnx import After, Before, Instead, api
from mosaic_onnx.core.errors import OutputsDifferError, UsageError
from mosaic_onnx.passes.base import Pipeline
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.outside import changed
from mosaic_onnx.pipeline.pipelines import COMPILE

PACKAGE = Path(__file__).parents[3] / "examples" / "extra_passes"
MODEL = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (float[1,8] x) => (float[1,8] y) <float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}>
    { [one] a = Sin (x)  [same] b = Identity (a)  [two] c = Mul (b, w)  [three] y = Abs (c) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed into a folder of its own from a copy of its sources."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for file in ("pyproject.toml", "extra_passes.py"):
        (source / file).write_bytes((PACKAGE / file).read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True, capture_output=True, timeout=300)
    return target


def mosaic(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that sees the package, run outside the tree."""
    code = "import sys; from mosaic_onnx.cli import run; sys.exit(run(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        timeout=300,
        check=False,
    )


def test_an_installed_package_rewrites_prices_and_checks(installed: Path, path: Path) -> None:
    words = ("--pass", "drop-identities,byte-costs", "--pass", "cross-check", "-d", "cpu", "--no-cache")
    done = mosaic(installed, path.parent, "compile", path.name, *words)
    assert done.returncode == 0, done.stderr
    assert "cross-check: 1 outputs are those of net.onnx" in done.stderr
    bundle = path.with_suffix(".mosaic")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["passes"][:3] == ["load", "drop_identities", "normalise"]
    assert manifest["passes"][-1] == "cross_check"
    assert any("rewrote the model" in note for note in manifest["proof"]["notes"])
    assert manifest["replay"][-6:] == ["--pass", "drop-identities", "--pass", "byte-costs", "--pass", "cross-check"]
    profile = json.loads((bundle / "profile.json").read_text())
    assert [layer["nodes"] for layer in profile["layers"]] == [["one"], ["two"], ["three"]]
    assert {cost["source"] for layer in profile["layers"] for cost in layer["cost"].values()} == {"modelled"}


def test_a_name_that_no_package_offers_is_refused_with_those_that_do(installed: Path, path: Path) -> None:
    done = mosaic(installed, path.parent, "compile", path.name, "--pass", "polish", "-d", "cpu")
    assert done.returncode == 2
    assert "no installed package offers passes called 'polish'" in done.stderr
    assert "byte-costs, cross-check, drop-identities" in done.stderr


@dataclass(frozen=True)
class Refuse:
    """A check that nothing passes."""

    name: ClassVar[str] = "refuse"
    requires: ClassVar[tuple[str, ...]] = ("proof",)
    ensures: ClassVar[tuple[str, ...]] = ()

    def __call__(self, state: State) -> State:
        raise OutputsDifferError("never good enough")


@dataclass(frozen=True)
class Negate:
    """A rewriting that turns one operator into another."""

    name: ClassVar[str] = "negate"
    requires: ClassVar[tuple[str, ...]] = ("opened",)
    ensures: ClassVar[tuple[str, ...]] = ("opened",)

    def __call__(self, state: State) -> State:
        model = onnx.ModelProto()
        model.CopyFrom(state.opened.model)
        model.graph.node[-1].op_type = "Neg"
        return replace(state, opened=state.opened.rewritten(model))


def test_a_check_after_verify_stops_the_delivery(path: Path) -> None:
    with pytest.raises(OutputsDifferError) as caught:
        api.compile(path, devices=["cpu"], cache=False, passes=[After("verify", Refuse())])
    assert caught.value.passes == ("refuse",)
    assert not path.with_suffix(".mosaic").exists()


def test_a_rewriting_is_what_is_cut_measured_and_delivered(path: Path) -> None:
    done = api.compile_unwritten(path, devices=["cpu"], cache=False, passes=[Before("normalise", Negate())])
    assert done.state.graph.layers[-1].op_types[-1] == "Neg"
    assert done.state.opened.sha256 != api.compile_unwritten(path, devices=["cpu"], cache=False).state.opened.sha256


def test_changes_are_made_in_their_order() -> None:
    made = changed(COMPILE, [After("load", Negate()), Before("negate", Refuse()), Instead("refuse", Pipeline((), "x"))])
    assert [one.name for one in made[:4]] == ["load", "x", "negate", "normalise"]


def test_a_change_beside_a_pass_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UsageError, match="there is no pass 'lower'"):
        changed(COMPILE, [After("lower", Negate())])


def test_the_documentation_shows_the_package_as_it_is() -> None:
    document = (PACKAGE.parents[1] / "docs" / "passes.md").read_text(encoding="utf-8")
    blocks = document.split("<!-- from examples/extra_passes/extra_passes.py -->\n```python\n")[1:]
    source = (PACKAGE / "extra_passes.py").read_text(encoding="utf-8")
    assert len(blocks) == 3
    for block in blocks:
        assert block.split("```")[0] in source
