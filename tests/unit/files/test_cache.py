from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from mosaic_onnx.files.cache import Cache, default_folder, digest

KEY = {"what": "slice", "versions": {"a": "1", "b": "2"}}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "kept")


def entry_of(cache: Cache) -> Path:
    [path] = (cache.folder / "measurements").glob("*/*.json")
    return path


def test_what_was_stored_is_found_again(cache: Cache) -> None:
    cache.store(KEY, {"seconds": 0.25})
    assert cache.lookup(KEY) == {"seconds": 0.25}
    assert cache.notes == []


def test_the_order_of_a_keys_fields_does_not_matter(cache: Cache) -> None:
    cache.store(KEY, 1)
    assert cache.lookup({"versions": {"b": "2", "a": "1"}, "what": "slice"}) == 1


@pytest.mark.parametrize("changed", [{"versions": {"a": "1", "b": "3"}}, {"what": "copies"}, {"state": "cpu@2GHz"}])
def test_another_key_is_a_miss(cache: Cache, changed: dict[str, object]) -> None:
    cache.store(KEY, 1)
    assert cache.lookup({**KEY, **changed}) is None


def test_an_empty_cache_holds_nothing_and_makes_no_folder(cache: Cache) -> None:
    assert cache.lookup(KEY) is None
    assert cache.usage().entry_count == 0
    assert not cache.folder.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"schema": "mosaic-onnx/measurement/1"}', b"\xff\xfe"]
)
def test_a_corrupt_entry_is_a_miss_that_is_said(cache: Cache, content: bytes) -> None:
    cache.store(KEY, 1)
    entry_of(cache).write_bytes(content)
    assert cache.lookup(KEY) is None
    assert cache.notes == [f"cache entry {entry_of(cache)} is corrupt; measuring again"]


def test_a_changed_value_does_not_pass_the_checksum(cache: Cache) -> None:
    cache.store(KEY, {"seconds": 0.25})
    path = entry_of(cache)
    path.write_text(path.read_text().replace("0.25", "0.05"))
    assert cache.lookup(KEY) is None
    assert len(cache.notes) == 1


def test_an_entry_of_another_key_in_its_place_is_a_miss(cache: Cache) -> None:
    cache.store(KEY, 1)
    other = entry_of(cache).read_text()
    cache.clean()
    cache.store({**KEY, "what": "copies"}, 2)
    entry_of(cache).write_text(other)
    assert cache.lookup({**KEY, "what": "copies"}) is None


def test_a_corrupt_entry_is_replaced_by_the_next_measurement(cache: Cache) -> None:
    cache.store(KEY, 1)
    entry_of(cache).write_bytes(b"{")
    cache.store(KEY, 2)
    assert cache.lookup(KEY) == 2


def test_entries_say_what_was_measured_in_readable_json(cache: Cache) -> None:
    cache.store(KEY, {"seconds": 0.25})
    entry = json.loads(entry_of(cache).read_text())
    assert entry["schema"] == "mosaic-onnx/measurement/1"
    assert entry["key"] == KEY


def test_numbers_that_json_lacks_are_refused(cache: Cache) -> None:
    with pytest.raises(ValueError, match="JSON"):
        cache.store(KEY, float("nan"))


def test_a_folder_that_cannot_be_written_is_said_once_and_survived(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "below")
    cache.store(KEY, 1)
    cache.store({**KEY, "what": "copies"}, 1)
    assert cache.lookup(KEY) is None
    assert len([note for note in cache.notes if "cannot write" in note]) == 1


def test_clean_removes_entries_and_leaves_other_files_alone(cache: Cache) -> None:
    cache.store(KEY, 1)
    strangers = [cache.folder / "precious.txt", cache.folder / "measurements" / "ab" / "precious.json"]
    for stranger in strangers:
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_text("mine")
    removed = cache.clean()
    assert removed.entry_count == 1
    assert removed.entry_bytes > 0
    assert cache.lookup(KEY) is None
    assert all(stranger.read_text() == "mine" for stranger in strangers)


def fill(cache: Cache, ages_s: list[float]) -> None:
    for index, age_s in enumerate(ages_s):
        before = set((cache.folder / "measurements").glob("*/*.json"))
        cache.store({"index": index}, "x" * 100)
        [path] = set((cache.folder / "measurements").glob("*/*.json")) - before
        os.utime(path, (time.time() - age_s,) * 2)


def test_prune_by_age_keeps_what_was_used_lately(cache: Cache) -> None:
    fill(cache, [10.0, 1000.0, 2000.0])
    assert cache.prune(max_age_s=500.0).entry_count == 2
    assert cache.lookup({"index": 0}) is not None


def test_a_lookup_counts_as_use(cache: Cache) -> None:
    fill(cache, [10.0, 1000.0])
    assert cache.lookup({"index": 1}) is not None
    assert cache.prune(max_age_s=500.0).entry_count == 0


def test_prune_by_bytes_removes_the_longest_unused_first(cache: Cache) -> None:
    fill(cache, [30.0, 10.0, 20.0])
    each = cache.usage().entry_bytes // 3
    assert cache.prune(max_bytes=2 * each + each // 2).entry_count == 1
    assert cache.lookup({"index": 0}) is None
    assert cache.lookup({"index": 1}) is not None


def test_prune_without_limits_removes_nothing(cache: Cache) -> None:
    fill(cache, [1e6])
    assert cache.prune().entry_count == 0


def test_a_dead_writers_leftover_goes_with_prune_and_a_living_ones_stays(cache: Cache) -> None:
    cache.store(KEY, 1)
    old, new = (entry_of(cache).with_name(f".{'0' * 64}.json.{name}") for name in ("old", "new"))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    cache.prune()
    assert not old.exists()
    assert new.exists()
    assert cache.lookup(KEY) == 1


def _write_many(folder: str) -> None:
    cache = Cache(Path(folder))
    for index in range(200):
        cache.store({"index": index % 10}, {"seconds": index % 10, "padding": "x" * 2000})


def test_several_writers_leave_whole_entries(cache: Cache) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(str(cache.folder),)) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for index in range(10):
            assert (cache.lookup({"index": index}) or {"seconds": index})["seconds"] == index
    for writer in writers:
        writer.join()
    assert cache.notes == []
    assert cache.usage().entry_count == 10
    assert list((cache.folder / "measurements").glob("*/.*")) == []


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOSAIC_CACHE_DIR", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("MOSAIC_CACHE_DIR")
    assert default_folder().name == "mosaic-onnx"


def test_the_digest_knows_content_not_order() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [2, 1]}) != digest({"a": [1, 2]})
