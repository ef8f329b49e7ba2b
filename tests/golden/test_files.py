"""The files that a user gets: the partitioned model, the plan, the manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest

from mosaic_onnx import api
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.bundle import write_bundle
from mosaic_onnx.files.plan_file import plan_to_json
from mosaic_onnx.files.profile_file import profile_to_json
from mosaic_onnx.planner.core.request import Request
from tests.golden.conftest import Golden
from tests.unit.files.bundles import small_contents


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return small_contents(tmp_path).profile


def test_the_partitioned_model_is_as_it_was(golden: Golden, tmp_path: Path) -> None:
    text = onnx.printer.to_text(small_contents(tmp_path).model)
    golden("model.onnxtxt", re.sub(r"((?:[^,{}]+,){4})[^{}]{200,}\}", r"\1 ...}", text) + "\n")


def test_the_plan_is_as_it_was(golden: Golden, profile: Profile) -> None:
    for objective in ("latency", "throughput"):
        plan = api.plan(profile, Request(objective=objective, min_slice_count=2))
        golden(f"plan-{objective}.json", plan_to_json(plan))


def test_the_profile_is_as_it_was(golden: Golden, profile: Profile) -> None:
    golden("profile.json", profile_to_json(profile))


def test_the_files_of_a_bundle_are_as_they_were(golden: Golden, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_bundle(small_contents(tmp_path / "made"), tmp_path / "bundle")
    files = sorted(
        path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*") if path.is_file()
    )
    golden("bundle.txt", "\n".join(files) + "\n")
    golden("devices.toml", (tmp_path / "bundle" / "devices.toml").read_text("utf-8"))


def test_the_manifest_of_a_compiled_bundle_has_the_keys_that_it_had(golden: Golden, tmp_path: Path) -> None:
    """Values are measured, so that only their kinds are compared; names and words are compared as they are."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> tiny (float[4] x) => (float[4] y) { [a] h = Sin(x)  [b] y = Cos(h) }'
    )
    onnx.save(model, tmp_path / "tiny.onnx")
    bundle = api.compile(tmp_path / "tiny.onnx", devices=["cpu"], cache=False)
    manifest = json.loads((bundle.folder / "manifest.json").read_text("utf-8"))
    golden("manifest.txt", "\n".join(sorted(_kinds(manifest))) + "\n")


_MEASURED = ("versions", "machine", "files", "left_out", "measured", "proof.outputs", "proof.slices", "tuned.slices")
"""Parts of a manifest whose keys depend on the machine and on what was measured."""


def _kinds(tree: object, path: str = "") -> set[str]:
    """Every key path of a tree with the kind of its value."""
    if path not in _MEASURED:
        if isinstance(tree, dict):
            return {line for key, value in tree.items() for line in _kinds(value, f"{path}.{key}".lstrip("."))}
        if isinstance(tree, list) and tree:
            return {line for value in tree for line in _kinds(value, f"{path}[]")}
    return {f"{path}: {type(tree).__name__}"}
