"""A node that a vendor's compiler made is read by that vendor's parser alone: a bundle's is refused before that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mosaic_onnx import api
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.bundle import read_bundle, write_bundle
from mosaic_onnx.pipeline.open_bundle import bind_bundle
from tests.hostile.test_bundle_devices import reseal
from tests.unit.files.bundles import small_contents

COMMANDS: tuple[Callable[..., object], ...] = (api.run, api.verify, api.bench)


def with_blob(model: onnx.ModelProto, *, nested: bool = False) -> onnx.ModelProto:
    """The model with its first node replaced by a blob for a vendor, or with one in a branch."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    first = made.graph.node[0]
    blob = helper.make_node(
        "EPContext", list(first.input[:1]), list(first.output), "blob", domain="com.microsoft",
        embed_mode=1, ep_cache_context=b"MZ\x90", main_context=1,
    )  # fmt: skip
    if nested:
        value = helper.make_tensor_value_info(first.output[0], TensorProto.FLOAT, [1024])
        branches = [helper.make_graph([blob], "branch", [], [value]) for _ in range(2)]
        condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
        made.graph.initializer.append(condition)
        blob = helper.make_node(
            "If", ["condition"], list(first.output), "if", then_branch=branches[0], else_branch=branches[1]
        )
    made.graph.node[0].CopyFrom(blob)
    if "com.microsoft" not in {one.domain for one in made.opset_import}:
        made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(small_contents(folder), folder / "small.mosaic")
    return folder / "small.mosaic"


@pytest.mark.parametrize("file", ["slices/000.onnx", "slices/uncut.onnx"])
@pytest.mark.parametrize("nested", [False, True])
def test_no_blob_of_a_bundle_reaches_a_vendors_parser(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, nested: bool
) -> None:
    bundle = Path(shutil.copytree(sound, tmp_path / "small.mosaic"))
    path = bundle / file
    path.write_bytes(with_blob(onnx.load_model(path, load_external_data=False), nested=nested).SerializeToString())
    reseal(bundle, file)
    loaded: list[str] = []
    load = type(BACKEND).load

    def spy(self: object, model: object, device: object) -> object:
        if "EPContext" in str(model):
            loaded.append("blob")
        return load(self, model, device)  # type: ignore[arg-type]

    monkeypatch.setattr(type(BACKEND), "load", spy)
    for command in COMMANDS:
        with pytest.raises(ModelError, match=r"'blob' \(com\.microsoft::EPContext\) holds what a vendor's compiler"):
            command(bundle)
    assert not loaded


def test_who_trusts_the_bundle_takes_its_blobs_too(sound: Path) -> None:
    opened = read_bundle(sound)
    attack = replace(opened.slices[0], model=with_blob(opened.slices[0].model))
    trusted = bind_bundle(replace(opened, slices=(attack, opened.slices[1])), trust=True)
    assert trusted.is_trusted
    assert trusted.slices[0].model.graph.node[0].op_type == "EPContext"
