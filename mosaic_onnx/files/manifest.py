"""The manifest of a bundle: its form, the digests of all its files, and the seal over the manifest itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.atomic import read_text

SCHEMA = "mosaic-onnx/bundle/1"
MODEL, MANIFEST, PLAN, PROFILE, DEVICES = "model.onnx", "manifest.json", "plan.json", "profile.json", "devices.toml"
SLICES, TUNED, ORIGINAL, WEIGHTS = "slices", "tuned", "uncut.onnx", "weights.bin"
SEAL = "seal"
_AGAIN = "compile the model again"
_LEFTOVER = ".mosaic-"
"""How names of a runtime's temporary files begin; a killed process leaves them behind."""


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Digests of all files of a bundle but the manifest, by path inside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files if path != folder / MANIFEST}


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the digest of everything else that it says: chance changes nothing in it unseen.

    It proves integrity, not origin: who changes a bundle on purpose can seal it again.
    """
    return {**manifest, SEAL: seal_of(manifest)}


def seal_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a manifest without its seal, whatever the order of its keys."""
    content = {key: value for key, value in manifest.items() if key != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """The sealed manifest's text; the same manifest gives the same text."""
    return json.dumps(sealed(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a bundle: its seal is whole, and every file of the folder has the digest that it states.

    Raises:
        ModelError: the folder is no bundle, or a file is missing, changed, or not the bundle's.
    """
    path = place / MANIFEST
    if not path.is_file():
        raise ModelError(f"{place} is not a bundle: it has no {MANIFEST}", "give a folder that compile wrote")
    try:
        manifest = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON: {error}", _AGAIN) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise ModelError(f"{path}: its schema is not {SCHEMA}", "compile the model again with this version")
    if manifest.get(SEAL) != seal_of(manifest):
        raise ModelError(f"{path} was changed after it was written: its seal is broken", _AGAIN)
    _check_form(manifest, path)
    _check_files(manifest["files"], place)
    return manifest


def _check_files(digests: Mapping[str, str], place: Path) -> None:
    for name, digest in digests.items():
        path = place / name
        if not path.is_file() or path.is_symlink() or path.resolve().parent not in _folders(place):
            raise ModelError(f"bundle {place}: {name} is missing", _AGAIN)
        if file_digest(path) != digest:
            raise ModelError(f"bundle {place}: {name} was changed after it was written", _AGAIN)
    strange = next((name for name in _names(place) if name not in digests), None)
    if strange is not None:
        raise ModelError(f"bundle {place}: {strange} is not a file of the bundle", f"remove it, or {_AGAIN}")


def _names(place: Path) -> Iterator[str]:
    """Paths of all that lies in a bundle's folders but the manifest and leftovers, from the bundle on."""
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if not is_folder and name != MANIFEST and not path.name.startswith(_LEFTOVER):
            yield name


def _folders(place: Path) -> tuple[Path, ...]:
    """Where the files of a bundle may lie; a link in place of a folder leads elsewhere and is none of them."""
    return tuple(place.resolve() / name for name in ("", SLICES, TUNED))


def _check_form(manifest: Mapping[str, Any], path: Path) -> None:
    """The keys that reading relies on.

    Raises:
        ModelError: one is missing or of the wrong kind.
    """
    kinds: dict[str, type] = {"files": dict, "inputs": list, "outputs": list, "slices": list, "tuned": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise ModelError(f"{path}: {key} is missing or damaged", _AGAIN)
    listed = set(manifest["files"])
    tuned = manifest["tuned"].get("slices")
    if not isinstance(tuned, list) or "fingerprint" not in manifest["tuned"]:
        raise ModelError(f"{path}: tuned is damaged", _AGAIN)
    if not (_are_names(manifest["inputs"]) and _are_names(manifest["outputs"])):
        raise ModelError(f"{path}: inputs or outputs are damaged", _AGAIN)
    numbered = all(isinstance(entry, dict) and isinstance(entry.get("slice"), int) for entry in tuned)
    if not numbered or not all(_is_entry(entry, listed) for entry in (*manifest["slices"], *tuned)):
        raise ModelError(f"{path}: an entry of slices is damaged", _AGAIN)
    needed = {MODEL, PLAN, PROFILE, DEVICES, f"{SLICES}/{ORIGINAL}", f"{SLICES}/{WEIGHTS}"}
    needed |= {f"{TUNED}/{WEIGHTS}"} if tuned else set()
    if missing := needed - listed:
        raise ModelError(f"{path}: {', '.join(sorted(missing))} is not listed", _AGAIN)


def _is_entry(entry: object, listed: set[str]) -> bool:
    """Whether it names a listed file and what that reads and makes."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or entry["file"] not in listed:
        return False
    return _are_names(entry.get("inputs")) and _are_names(entry.get("outputs"))


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
