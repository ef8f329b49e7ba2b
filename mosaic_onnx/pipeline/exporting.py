"""From a bundle to files that need nothing of ours: one ONNX file, or a file a slice with a runner."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import onnx

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.files.export_file import MOST_BYTES, write_model
from mosaic_onnx.files.manifest import SLICES
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.rewriting.assignment import SETTINGS_KEY, assigned_model
from mosaic_onnx.rewriting.portable import least_runtime, without_tags

ORDER = "slices.json"
RUNNERS = ("run_slices.py", "run_slices.cpp")


@dataclass(frozen=True)
class Exported:
    """The files of an export.

    Attributes:
        files: every file, the model or the slices first.
        ir_version: of the ONNX files.
        least_runtime: the oldest ONNX Runtime that may be expected to run them.
    """

    files: tuple[Path, ...]
    ir_version: int
    least_runtime: str


@dataclass(frozen=True)
class Annotated:
    """A model that was tagged for stock ONNX Runtime.

    Attributes:
        files: the model, and its data file where it needs one.
        key: the session option.
        settings: its value.
    """

    files: tuple[Path, ...]
    key: str
    settings: str


def annotate_model(model: Path, profile: Profile, plan: Plan, path: Path, *, most_bytes: int = MOST_BYTES) -> Annotated:
    """Write a model whose nodes say which device of a plan runs them, with its weights.

    Args:
        model: the model that was profiled.
        profile: what the plan was made from.
        plan: where its layers run.
        path: the file.
        most_bytes: up to so many bytes, the weights go inside.

    Raises:
        ModelError: the model cannot be read, or the plan is not of it.
        UsageError: the file cannot be written.
    """
    opened = open_model(model)
    made, settings = assigned_model(opened.model, profile, plan)
    data = write_model(made, str(opened.folder), path, most_bytes)
    return Annotated((path,) if data is None else (path, data), SETTINGS_KEY, settings)


def export_model(bundle: Bundle, path: Path, *, keep_tags: bool = False, most_bytes: int = MOST_BYTES) -> Exported:
    """Write the partitioned model as one file with its weights inside, or with one data file beside it.

    Args:
        bundle: whose model is written.
        path: the file.
        keep_tags: keep device configurations and metadata, which need IR version 11.
        most_bytes: up to so many bytes, the weights go inside.

    Raises:
        ModelError: the bundle is damaged.
        UsageError: the file cannot be written.
    """
    opened = open_model(bundle.model_path)
    model = opened.model if keep_tags else without_tags(opened.model, bundle.original().ir_version)
    data = write_model(model, str(opened.folder), path, most_bytes)
    files = (path,) if data is None else (path, data)
    return Exported(files, model.ir_version, least_runtime(model))


def export_slices(bundle: Bundle, folder: Path, *, most_bytes: int = MOST_BYTES) -> Exported:
    """Write each slice as a file of its own into a new folder, with their order and two small runners.

    Args:
        bundle: whose slices are written.
        folder: made here; it appears whole or not at all.
        most_bytes: up to so many bytes, a slice's weights go inside its file.

    Raises:
        ModelError: the bundle is damaged.
        UsageError: the folder is there already, or cannot be written.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists", "name another output")
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        models = [one.model for one in bundle.slices]
        names = [f"slice_{number:03}.onnx" for number in range(len(models))]
        for model, name in zip(models, names, strict=True):
            write_model(model, str(bundle.folder / SLICES), temporary / name, most_bytes)
        (temporary / ORDER).write_text(json.dumps(_order(bundle, names), indent=1) + "\n", encoding="utf-8")
        for name in RUNNERS:
            text = resources.files("mosaic_onnx.data").joinpath(f"{name}.txt").read_text(encoding="utf-8")
            (temporary / name).write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    files = tuple(sorted(folder.iterdir(), key=lambda path: (path.name not in names, path.name)))
    return Exported(files, max(model.ir_version for model in models), _least(models))


def _order(bundle: Bundle, names: list[str]) -> dict[str, object]:
    """Return the runners' description: the slices in order, their devices and tensors, and the model's own."""
    return {
        "inputs": [asdict(one) for one in bundle.input_specs],
        "outputs": [asdict(one) for one in bundle.output_specs],
        "slices": [
            {"file": name, "device": device_of(placed.state)}
            | {"inputs": list(one.inputs), "outputs": list(one.outputs)}
            for name, one, placed in zip(names, bundle.slices, bundle.plan.slices, strict=True)
        ],
    }


def _least(models: list[onnx.ModelProto]) -> str:
    return max((least_runtime(model) for model in models), key=lambda text: tuple(map(int, text.split("."))))
