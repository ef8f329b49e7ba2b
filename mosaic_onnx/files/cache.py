"""The measurement cache: nothing is measured twice under the same conditions.

An entry is a small JSON file named by the digest of its key: a lookup is one read, and a changed key is another file.
Entries are written to temporary files and moved into place, so any number of writers may share the folder; a reader
sees a whole entry or none. Each carries a checksum: one that does not match is a miss, and the cache says so in
``notes``. Nothing in an entry is ever executed or unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = "mosaic-onnx/measurement/1"
ENVIRONMENT_VARIABLE = "MOSAIC_CACHE_DIR"
_ENTRY = re.compile(r"^[0-9a-f]{64}\.json$")
_LEFTOVER = re.compile(r"^\.[0-9a-f]{64}\.json\.")
_LEFTOVER_AGE_S = 3600.0
"""A temporary file of at least this age has no living writer."""

_log = logging.getLogger(__name__)

Json = Any
Key = Mapping[str, Json]


@dataclass(frozen=True)
class RemovedEntries:
    """The entries that ``clean`` or ``prune`` removed."""

    entry_count: int
    entry_bytes: int


@dataclass(frozen=True)
class CacheUsage:
    """The number and size of the cache's entries."""

    entry_count: int
    entry_bytes: int


def default_folder() -> Path:
    """Return the default cache folder: ``$MOSAIC_CACHE_DIR``, else the platform's cache folder for mosaic-onnx."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("mosaic-onnx", appauthor=False))


def digest(value: Json) -> str:
    """Return the SHA-256 (hex) of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(_canonical(value)).hexdigest()


@dataclass(eq=False)
class Cache:
    """Measurements in a folder.

    Attributes:
        folder: the folder; created when the first entry is stored.
        notes: problems that were worked around (a corrupt entry, a folder that cannot be written), for the user.
    """

    folder: Path = field(default_factory=default_folder)
    notes: list[str] = field(default_factory=list)

    def lookup(self, key: Key) -> Json | None:
        """Return the value stored under ``key``; None where there is none, or the entry is corrupt (see ``notes``)."""
        path = self._path(key)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(f"cannot read {path}: {error.strerror}; measuring again")
            return None
        value = _checked(text, key)
        if value is None:
            self._note(f"cache entry {path} is corrupt; measuring again")
            return None
        with contextlib.suppress(OSError):  # `prune` goes by the time of last use
            os.utime(path)
        return value

    def store(self, key: Key, value: Json) -> None:
        """Store ``value`` (JSON, finite numbers) under ``key``; a folder that cannot be written is only noted."""
        path = self._path(key)
        entry = {"schema": SCHEMA, "key": key, "value": value, "sha256": digest([key, value])}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, json.dumps(entry, indent=1, sort_keys=True, allow_nan=False).encode())
        except OSError as error:
            self._note(f"cannot write to the cache {self.folder}: {error.strerror}; going on without")

    def usage(self) -> CacheUsage:
        """Return the number of entries and their bytes."""
        found = list(self._entries())
        return CacheUsage(len(found), sum(stat.st_size for _, stat in found))

    def clean(self) -> RemovedEntries:
        """Remove all entries; other files are kept."""
        return _remove(list(self._entries(leftovers_s=0.0)))

    def prune(self, max_age_s: float | None = None, max_bytes: int | None = None) -> RemovedEntries:
        """Remove entries not used for ``max_age_s``, then the longest unused ones until ``max_bytes`` are left."""
        doomed, kept_bytes, now = [], 0, time.time()
        for path, stat in sorted(self._entries(), key=lambda entry: entry[1].st_mtime, reverse=True):
            too_old = max_age_s is not None and now - stat.st_mtime > max_age_s
            too_much = max_bytes is not None and kept_bytes + stat.st_size > max_bytes
            if too_old or too_much or _LEFTOVER.match(path.name):
                doomed.append((path, stat))
            else:
                kept_bytes += stat.st_size
        return _remove(doomed)

    def _path(self, key: Key) -> Path:
        name = digest(key)
        return self.folder / "measurements" / name[:2] / f"{name}.json"

    def _entries(self, leftovers_s: float = _LEFTOVER_AGE_S) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the entries, and temporary files that are at least ``leftovers_s`` old."""
        now = time.time()
        for path in sorted((self.folder / "measurements").glob("[0-9a-f][0-9a-f]/*")):
            entry, leftover = _ENTRY.match(path.name), _LEFTOVER.match(path.name)
            with contextlib.suppress(OSError):  # another process may have removed it
                stat = path.lstat()
                if entry or (leftover and now - stat.st_mtime >= leftovers_s):
                    yield path, stat

    def _note(self, text: str) -> None:
        if text not in self.notes:
            _log.info("%s", text)
            self.notes.append(text)


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _checked(text: bytes, key: Key) -> Json | None:
    """Return the value in an entry's text; None unless schema, key and checksum fit."""
    try:
        entry = json.loads(text)
        if entry["schema"] != SCHEMA or entry["sha256"] != digest([entry["key"], entry["value"]]):
            return None
        return entry["value"] if digest(entry["key"]) == digest(key) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _remove(entries: list[tuple[Path, os.stat_result]]) -> RemovedEntries:
    count, total = 0, 0
    for path, stat in entries:
        try:
            path.unlink()
        except OSError:
            continue
        count, total = count + 1, total + stat.st_size
    return RemovedEntries(count, total)
