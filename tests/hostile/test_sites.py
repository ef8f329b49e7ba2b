"""A scenario's site is not trusted: its devices are bound to this machine's exactly as a single bundle's are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.bundle import write_bundle
from mosaic_onnx.pipeline.site.folder import Site, read_site, write_site
from mosaic_onnx.pipeline.site.live import LiveSite
from tests.hostile.test_bundle_devices import ATTACKS, attacked, command_line, compiler, evil
from tests.unit.files.bundles import small_contents

__all__ = ["compiler", "evil"]  # fixtures

SITE = {
    "schema": "mosaic-onnx/site/1",
    "drop": "late",
    "policy": "priority",
    "priority": ["g/one"],
    "period_multiplier": 1.0,
    "devices": ["cpu", "other"],
    "groups": [
        {
            "name": "g",
            "period_s": 0.05,
            "deadline_s": 0.05,
            "models": [{"name": "one", "bundle": "models/000.mosaic"}],
        }
    ],
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(small_contents(folder), folder / "small.mosaic")
    return folder / "small.mosaic"


def site_of(bundle: Path, folder: Path) -> Path:
    """A site that serves one bundle."""
    (folder / "site" / "models").mkdir(parents=True)
    shutil.copytree(bundle, folder / "site" / "models" / "000.mosaic")
    (folder / "site" / "site.json").write_text(json.dumps(SITE))
    return folder / "site"


@pytest.fixture(scope="module")
def opened(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return read_site(site_of(sound, tmp_path_factory.mktemp("site")))


def test_no_option_of_any_backend_takes_a_path_from_a_site(opened: Site) -> None:
    for device, _ in ATTACKS:
        bundles = {name: replace(one, devices=(one.devices[0], device)) for name, one in opened.bundles.items()}
        attack = replace(opened, bundles=bundles)
        with pytest.raises(UsageError, match=r"device other sets"):
            LiveSite({frozenset(): opened, frozenset({"cpu"}): attack})


def test_a_library_in_a_site_is_not_loaded_unless_it_is_trusted(
    sound: Path, evil: tuple[Path, Path], tmp_path: Path
) -> None:
    library, marker = evil
    options = {"provider": "EvilExecutionProvider", "library": str(library)}
    site = site_of(attacked(sound, tmp_path, Device("other", backend="onnxruntime", options=options)), tmp_path)
    ended = command_line("serve-scenario", site, "--seconds", "0.1")
    assert ended.returncode == 2, ended.stderr
    assert "device other sets" in ended.stderr
    assert not marker.exists()
    assert command_line("serve-scenario", site, "--seconds", "0.1", "--trust").returncode == 5
    assert marker.exists()


def test_a_sound_site_is_served(sound: Path, tmp_path: Path) -> None:
    served = api.serve_scenario(site_of(sound, tmp_path), seconds=0.2)
    assert all(one.completed_count > 0 for one in served.statistics.models)


def test_force_replaces_no_folder_that_is_not_a_site(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a site"):
        write_site(None, None, None, tmp_path / "photographs", force=True)  # type: ignore[arg-type]
    assert (tmp_path / "photographs" / "one.jpg").exists()
