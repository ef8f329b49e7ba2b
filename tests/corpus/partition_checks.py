"""A model cut by chance: the partitioned file is sound, any runtime loads it, and it gives the original's bits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.loading.model import OpenedModel, open_model
from mosaic_onnx.loading.normalise import Normalised, normalise
from mosaic_onnx.rewriting.rewrite import canonical_model, slice_models
from tests.corpus.random_plans import made_up_profile, random_plan

CHECKER_REFUSES = {
    "llama_tiny_fp16_ext": "uses ONNX Runtime's SimplifiedLayerNormalization in ONNX's domain, as the original does",
    "tiny_gpt2_beamsearch": "uses ONNX Runtime's LayerNormalization of operator set 1, as the original does",
    "loop_decoder": "its loops do not declare their types, and ONNX's inference refuses the original too",
}


def outputs_of(model: str | bytes, folder: Path | str, feed: Mapping[str, Any], *, optimise: bool) -> list[Any]:
    """Run in stock ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))


def same_bits(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(same_bits(*pair) for pair in zip(one, other, strict=True))
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(np.array_equal(one, other)) if one.dtype.kind in "OU" else one.tobytes() == other.tobytes()


def check_partitions(path: Path, seeds: range, folder: Path, *, optimise: bool) -> None:
    """Cut a model by one random plan for each seed.

    Args:
        path: the model.
        seeds: of the plans.
        folder: an empty one, for files.
        optimise: whether ONNX Runtime optimises the original and the partitioned model before they are compared.
    """
    opened = open_model(path)
    normalised = normalise(opened)
    profile = made_up_profile(layerize(normalised))
    feed = make_inputs(normalised.model, 0)
    original = opened.path.read_bytes()
    ort.set_seed(1)
    wanted = outputs_of(original, opened.folder, feed, optimise=optimise)
    ort.set_seed(2)  # outputs that are drawn differ now: a node's own draw depends on its place in the graph too
    again = outputs_of(original, opened.folder, feed, optimise=optimise)
    repeatable = [same_bits(*pair) for pair in zip(wanted, again, strict=True)]
    for seed in seeds:
        plan = random_plan(profile, seed)
        rewritten = canonical_model(opened, normalised, profile, plan)
        assert not any("refuses the partitioned file" in note for note in rewritten.notes)
        check_sound(rewritten.model, opened, folder / f"{seed}")
        got = outputs_of(rewritten.model.SerializeToString(), opened.folder, feed, optimise=optimise)
        verdicts = [same_bits(*pair) for pair in zip(wanted, got, strict=True)]
        assert [a or not b for a, b in zip(verdicts, repeatable, strict=True)] == [True] * len(wanted)
        slices = slice_models(normalised.model, normalised.folder, plan, profile)
        check_slices_run(slices, normalised, feed)
        check_nothing_is_lost(rewritten.model, opened.model)


def check_sound(model: onnx.ModelProto, opened: OpenedModel, folder: Path) -> None:
    """The full checker takes the file, from a folder where its external data lies."""
    folder.mkdir(parents=True)
    for data in opened.folder.glob(f"{opened.path.name}?*"):
        (folder / data.name).write_bytes(data.read_bytes())
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    if opened.path.stem not in CHECKER_REFUSES:
        onnx.checker.check_model(os.fspath(path), full_check=True)


def check_slices_run(slices: Any, normalised: Normalised, feed: Mapping[str, Any]) -> None:
    """Slice after slice, each fed with what the ones before it made, gives every output of the model."""
    values = dict(feed)
    for one in slices:
        inputs = {name: values[name] for name in one.inputs}
        made = outputs_of(one.model.SerializeToString(), normalised.folder, inputs, optimise=False)
        values.update(zip(one.outputs, made, strict=True))
    assert {value.name for value in normalised.model.graph.output} <= values.keys()


def check_nothing_is_lost(model: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Every node name and value name of the original is still there, with its nodes' operators."""
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    names = {node.name for nodes in bodies for node in nodes}
    values = {name for nodes in bodies for node in nodes for name in (*node.input, *node.output)}
    values |= {value.name for value in (*model.graph.input, *model.graph.output)}
    for node in original.graph.node:
        assert node.name in names
        assert set(node.output) <= values
