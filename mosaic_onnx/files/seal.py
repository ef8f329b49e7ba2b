"""The seal of a bundle: digests of all its files in the manifest, and a digest over the manifest itself.

It proves integrity, not origin: who changes a bundle on purpose can seal it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.process.memory import is_too_large

SEAL = "seal"
_READ_BYTES = 2**20
_HINT = "compile the model again"
_LEFTOVER = ".mosaic-"
"""The start of the names of a runtime's temporary files, which a killed process leaves behind."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
    return digest.hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Return the digests of all files of a folder, by path inside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with the digest of everything else that it says."""
    return {**manifest, SEAL: seal_of(manifest)}


def seal_of(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a manifest without its seal, whatever the order of its keys."""
    content = {key: value for key, value in manifest.items() if key != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_files(digests: Mapping[str, str], bundle: Path, folders: tuple[str, ...], unlisted: str) -> None:
    """Check that every file of a bundle has the digest that its manifest states, and that there are no others.

    Args:
        digests: by path from the bundle on.
        bundle: its folder; nothing outside is opened.
        folders: where files may lie, from the bundle on; a link in place of a folder leads elsewhere and is none.
        unlisted: the file that has no digest, the manifest.

    Raises:
        ModelError: a file is missing, changed, or not the bundle's.
    """
    places = tuple(bundle.resolve() / name for name in folders)
    for name, digest in digests.items():
        path = bundle / name
        if not path.is_file() or path.is_symlink() or path.resolve().parent not in places:
            raise ModelError(f"bundle {bundle}: {name} is missing", _HINT)
        if is_too_large(path.stat().st_size):  # a file of holes has any length, and reading it takes hours
            raise ModelError(f"bundle {bundle}: {name} is larger than this machine's memory", _HINT)
        if file_digest(path) != digest:
            raise ModelError(f"bundle {bundle}: {name} was changed after it was written", _HINT)
    strange = next((name for name in _names(bundle) if name not in digests and name != unlisted), None)
    if strange is not None:
        raise ModelError(f"bundle {bundle}: {strange} is not a file of the bundle", f"remove it, or {_HINT}")


def _names(bundle: Path) -> Iterator[str]:
    """Yield the paths of all that lies in a bundle but folders and leftovers, from the bundle on."""
    for path in sorted(bundle.rglob("*")):
        is_folder = path.is_dir() and not path.is_symlink()
        if not is_folder and not path.name.startswith(_LEFTOVER):
            yield path.relative_to(bundle).as_posix()
