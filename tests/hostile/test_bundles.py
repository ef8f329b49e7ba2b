"""A bundle is untrusted input too: what is changed, missing, or leads out of its folder is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.bundle import read_bundle, write_bundle
from mosaic_onnx.files.seal import sealed
from tests.unit.files.bundles import small_contents


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(small_contents(folder), folder / "small.mosaic")
    return folder / "small.mosaic"


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "small.mosaic"))


def rewrite_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest, and make its digests fit whatever the files are now."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        file = bundle / name
        if file.is_file():
            manifest["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
    change(manifest)
    path.write_text(json.dumps(sealed(manifest)))


def refuse(bundle: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        read_bundle(bundle)
    assert caught.value.exit_code == 1


def test_the_bundle_that_is_damaged_here_is_sound(bundle: Path) -> None:
    assert len(read_bundle(bundle).slices) == 2


@pytest.mark.parametrize("name", ["model.onnx", "slices/000.onnx", "slices/weights.bin", "plan.json", "devices.toml"])
def test_a_changed_file_is_named(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    refuse(bundle, f"{name} was changed")


def test_a_file_of_terabytes_of_holes_is_refused_unread(bundle: Path) -> None:
    with (bundle / "slices/weights.bin").open("r+b") as file:
        file.truncate(1 << 42)
    refuse(bundle, "slices/weights.bin is larger than this machine's memory")


@pytest.mark.parametrize("name", ["model.onnx", "slices/weights.bin", "profile.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refuse(bundle, f"{name} is missing")


def test_a_changed_manifest_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"replay"', '"replayed"'))
    refuse(bundle, "its seal is broken")


def test_a_manifest_whose_keys_only_stand_in_another_order_is_taken(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert len(read_bundle(bundle).slices) == 2


@pytest.mark.parametrize("name", ["notes.txt", "slices/weights2.bin", "tuned/weights.bin", "deep/er/x"])
def test_a_file_that_the_manifest_does_not_list_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_bytes(b"x")
    refuse(bundle, f"{name} is not a file of the bundle")


def test_what_a_killed_runtime_left_behind_is_no_reason_to_refuse(bundle: Path) -> None:
    (bundle / "slices" / ".mosaic-x1y2.onnx").write_bytes(b"x")
    assert len(read_bundle(bundle).slices) == 2


def test_weights_of_tuned_slices_are_listed_or_refused(bundle: Path) -> None:
    entry = {"file": "slices/000.onnx", "inputs": ["x"], "outputs": ["h"], "slice": 0}
    rewrite_manifest(bundle, lambda manifest: manifest["tuned"]["slices"].append(entry))
    refuse(bundle, r"tuned/weights\.bin is not listed")


def test_a_file_that_is_a_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "plan.json", tmp_path / "plan.json")
    (bundle / "plan.json").symlink_to(tmp_path / "plan.json")
    refuse(bundle, r"plan\.json is missing")


def test_a_folder_that_is_a_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "slices", tmp_path / "elsewhere")
    (bundle / "slices").symlink_to(tmp_path / "elsewhere")
    refuse(bundle, r"slices/.* is missing")


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/hostname", "slices/../../outside.onnx"])
def test_a_listed_file_outside_the_folder_is_refused_unread(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.onnx").write_bytes(b"x")
    rewrite_manifest(bundle, lambda manifest: manifest["files"].update({name: "0" * 64}))
    refuse(bundle, "outside.onnx is missing|hostname is missing")


def test_a_slice_with_weights_outside_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    path = bundle / "slices" / "000.onnx"
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../../secret.bin"
    path.write_bytes(model.SerializeToString())
    rewrite_manifest(bundle, lambda _: None)
    refuse(bundle, r"000\.onnx: tensor 'w'.*'../../secret\.bin'")


def test_a_slice_that_is_a_call_bomb_is_refused(bundle: Path) -> None:
    from tests.hostile.attacks import chain_of_functions

    (bundle / "slices" / "000.onnx").write_bytes(chain_of_functions(30, 2).SerializeToString())
    rewrite_manifest(bundle, lambda _: None)
    refuse(bundle, "unfold to more than 1000000 nodes")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.update(schema="mosaic-onnx/bundle/99"), "schema is 'mosaic-onnx/bundle/99'"),
        (lambda manifest: manifest.pop("files"), "files: missing"),
        (lambda manifest: manifest.update(slices=[{}]), r"slices\[0\]\.file: missing"),
        (
            lambda manifest: manifest["slices"][0].update(file=["slices/000.onnx"]),
            r"slices\[0\]\.file: input should be a",
        ),
        (lambda manifest: manifest["slices"][0].update(inputs="x"), r"slices\[0\]\.inputs: input should be a"),
        (lambda manifest: manifest["slices"][0].update(inputs=["ghost"]), r"slices/000\.onnx disagree"),
        (lambda manifest: manifest["slices"][0].update(outputs=["ghost"]), r"slices/000\.onnx disagree"),
        (lambda manifest: manifest["slices"][0].update(file="model.onnx"), r"model\.onnx disagree"),
        (lambda manifest: manifest["slices"].pop(), "2 slices are planned, 1 are here"),
        (lambda m: m.update(slices=m["slices"] * 50_000), "2 slices are planned, 100000 are here"),
        (lambda manifest: manifest.update(outputs=[1]), r"outputs\[0\]: input should be a"),
        (lambda manifest: manifest["files"].pop("plan.json"), r"plan\.json is not listed"),
    ],
)
def test_a_manifest_that_lies_is_refused(bundle: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    rewrite_manifest(bundle, change)
    refuse(bundle, words)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"schema": NaN}'])
def test_a_manifest_that_is_no_json_object_is_refused(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    refuse(bundle, "not JSON|must be a JSON object|nested too deeply|NaN is not a number")


def test_a_plan_on_a_device_that_is_not_described_is_refused(bundle: Path) -> None:
    path = bundle / "plan.json"
    path.write_text(path.read_text().replace('"other"', '"stranger"'))
    rewrite_manifest(bundle, lambda _: None)
    refuse(bundle, "stranger")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, "is not a bundle")
    os.mkfifo(tmp_path / "manifest.json")
    refuse(tmp_path, "is not a bundle")
