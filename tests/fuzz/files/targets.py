"""Readers of untrusted files: each takes any bytes, and raises only our own errors.

A target holds sound contents to start from, changes them, and reads what came of it as a command would.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import tomli_w

from mosaic_onnx import api
from mosaic_onnx.core.compatibility import tomllib
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.core.graph.graphs import node_keys, put_in_order
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.bundle import read_bundle, write_bundle
from mosaic_onnx.files.device_file import devices_from_toml, devices_to_toml
from mosaic_onnx.files.plan_file import plan_from_json, plan_to_json
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.files.seal import file_digest, sealed
from mosaic_onnx.importers import import_profile
from mosaic_onnx.loading.checks import Limits, check_parsed
from mosaic_onnx.loading.files import parse_model
from mosaic_onnx.loading.input_shapes import fix_inputs, free_dims, guesses
from mosaic_onnx.planner.core.request import Request
from tests.fuzz.files.mutations import mutated_bytes, mutated_tree
from tests.fuzz.generator.models import random_model
from tests.hostile.attacks import chain_of_functions, external, relu_model
from tests.unit.files.bundles import small_contents


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        seeds: sound contents.
        mutate: changes a content.
        read: reads one; returns whether it was taken.
    """

    seeds: Sequence[bytes]
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[bytes], bool]


def _taken(read: Callable[[], object]) -> bool:
    """Return whether content was taken; our own errors that blame it are a refusal, anything else passes through."""
    try:
        read()
    except MosaicError as error:
        if error.exit_code == 70:
            raise
        return False
    return True


def mutated_json(content: bytes, draw: random.Random) -> bytes:
    """Change the tree of a JSON text, or now and then its bytes."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        tree = None
    if tree is None or draw.random() < 0.1:
        return mutated_bytes(content, draw)
    return json.dumps(mutated_tree(tree, draw)).encode()


def mutated_toml(content: bytes, draw: random.Random) -> bytes:
    """Change the tree of a TOML text, or now and then its bytes."""
    try:
        return tomli_w.dumps(mutated_tree(tomllib.loads(content.decode()), draw)).encode()
    except (ValueError, TypeError, AttributeError):  # TOML holds less than JSON does
        return mutated_bytes(content, draw)


# Profiles and plans


def _read_profile(content: bytes) -> bool:
    def read() -> None:
        profile = profile_from_json(_text(content))
        assert profile_to_json(profile_from_json(profile_to_json(profile))) == profile_to_json(profile)
        api.plan(profile, Request(time_limit_s=0.2))

    return _taken(read)


def _read_plan(content: bytes) -> bool:
    def read() -> None:
        plan = plan_from_json(_text(content))
        assert plan_from_json(plan_to_json(plan)) == plan

    return _taken(read)


def _read_devices(content: bytes) -> bool:
    def read() -> None:
        devices = devices_from_toml(_text(content))
        assert devices_from_toml(devices_to_toml(devices)) == devices

    return _taken(read)


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


@cache
def _sound() -> tuple[Profile, Plan]:
    with tempfile.TemporaryDirectory() as folder:
        contents = small_contents(Path(folder))
    return contents.profile, contents.plan


_DEVICES = (
    Device("cpu", backend="onnxruntime", options={"threads": 1, "cores": "0-1"}, memory_bytes=2**30),
    Device("npu", backend="simulated", io="host", levels=(Level("low", 1e9, 0.8), Level("high", 2e9, 1.0))),
)


# Models


def _read_model(content: bytes) -> bool:
    def read() -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "w.bin").write_bytes(bytes(8))
            model = parse_model(content, Path(folder, "model.onnx"))
            check_parsed(model, Path(folder), Limits())
        put_in_order(model)
        assert len(set(node_keys(model.graph))) == len(model.graph.node)
        fix_inputs(model, {}, next(guesses(free_dims(model.graph))))

    return _taken(read)


def _model_seeds() -> list[bytes]:
    models = [chain_of_functions(4, 2), relu_model(weight=external("w.bin")), *map(random_model, (1, 2, 3))]
    return [model.SerializeToString() for model in models]


# Bundles: the text files of one as an object by name; digests are set right, so that what is behind them is reached


@cache
def _bundle_folder() -> tempfile.TemporaryDirectory[str]:
    """Holds a sound bundle; removed when the process ends."""
    holder = tempfile.TemporaryDirectory(prefix="fuzz-bundle-")
    folder = Path(holder.name)
    (folder / "made").mkdir()
    write_bundle(small_contents(folder / "made"), folder / "sound")
    return holder


def _bundle_seed() -> bytes:
    folder = Path(_bundle_folder().name, "sound")
    files = {name: json.loads((folder / name).read_text()) for name in ("manifest.json", "plan.json", "profile.json")}
    return json.dumps(files | {"devices.toml": tomllib.loads((folder / "devices.toml").read_text())}).encode()


def _read_bundle(content: bytes) -> bool:
    try:
        files = json.loads(content)
        texts = {name: _file_text(name, tree) for name, tree in files.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):  # not what any bundle could hold
        return False

    def read() -> None:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "bundle"
            shutil.copytree(Path(_bundle_folder().name, "sound"), place)
            _write(place, texts, files.get("manifest.json"))
            bundle = read_bundle(place)
            api.plan(bundle.profile, Request(time_limit_s=0.2))

    return _taken(read)


def _file_text(name: str, tree: Any) -> str:
    return tomli_w.dumps(tree) if name.endswith(".toml") else json.dumps(tree)


def _write(place: Path, texts: Mapping[str, str], manifest: Any) -> None:
    """Write the files of a bundle that are known to it, with the right digests and the right seal."""
    for name in ("plan.json", "profile.json", "devices.toml"):
        if name in texts:
            (place / name).write_text(texts[name], "utf-8", "replace")
    if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
        for name in manifest["files"]:
            if name in texts:
                manifest["files"][name] = file_digest(place / name)
        manifest = sealed(manifest)
    (place / "manifest.json").write_text(json.dumps(manifest), "utf-8", "replace")


# Profiles of other tools

_TENSORRT = [
    {"count": 625},
    {"name": "conv1 + relu1", "timeMs": 41.4, "averageMs": 0.066, "medianMs": 0.065, "percentage": 40.0},
    {"name": "left", "timeMs": 10.0, "averageMs": 0.016, "percentage": 10.0},
]
_ONNX_RUNTIME = [
    {"cat": "Session", "pid": 1, "tid": 1, "dur": 9, "ts": 1, "ph": "X", "name": "model_run", "args": {}},
    {
        "cat": "Node", "pid": 1, "tid": 1, "dur": 5, "ts": 2, "ph": "X", "name": "conv_kernel_time",
        "args": {"op_name": "Conv", "provider": "CPUExecutionProvider", "node_index": "0", "output_size": "64"},
    },
]  # fmt: skip


def _read_foreign(kind: str, content: bytes) -> bool:
    def read() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "profile.json")
            path.write_bytes(content)
            profile_from_json(profile_to_json(import_profile(kind, path)))

    return _taken(read)


@cache
def targets() -> Mapping[str, Target]:
    """Return the targets by name."""
    profile, plan = _sound()
    as_bytes = [json.dumps(each).encode() for each in (_TENSORRT, _ONNX_RUNTIME)]
    return {
        "model": Target(_model_seeds(), mutated_bytes, _read_model),
        "profile": Target([profile_to_json(profile).encode()], mutated_json, _read_profile),
        "plan": Target([plan_to_json(plan).encode()], mutated_json, _read_plan),
        "devices": Target([devices_to_toml(_DEVICES).encode()], mutated_toml, _read_devices),
        "bundle": Target([_bundle_seed()], mutated_json, _read_bundle),
        "tensorrt": Target([as_bytes[0]], mutated_json, partial(_read_foreign, "tensorrt")),
        "onnxruntime": Target([as_bytes[1]], mutated_json, partial(_read_foreign, "onnxruntime")),
    }
