"""A bundle's description of its devices loads no code, writes nothing and takes no cores that are not there.

The attacks are generated from the backends' option models: an option that somebody adds is attacked the next time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mosaic_onnx import api
from mosaic_onnx.backends.base import DeclaresOptions, FoundDevices
from mosaic_onnx.backends.onnxruntime.backend import OnnxRuntime
from mosaic_onnx.backends.onnxruntime.provider_facts import PLUGIN_DEVICES, PROVIDER_FACTS
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.discovery.binding import bind_devices, refused_options
from mosaic_onnx.discovery.registry import backends
from mosaic_onnx.files.bundle import Bundle, read_bundle, write_bundle
from mosaic_onnx.files.device_file import devices_to_toml
from mosaic_onnx.files.seal import sealed
from tests.unit.files.bundles import small_contents

COMMANDS: tuple[Callable[..., object], ...] = (api.run, api.verify, api.bench)


def attacks() -> Iterator[tuple[Device, str]]:
    """An entry for every option of every backend, and of every known provider, that names a path; what it sets."""
    path = "/tmp/mosaic-attack/evil.so"
    for name, backend in backends().items():
        assert isinstance(backend, DeclaresOptions)
        kinds = [Device("other", backend=name)]
        if name == "onnxruntime":
            kinds += [Device("other", backend=name, options={"provider": provider}) for provider in PROVIDER_FACTS]
            kinds += [replace(device, name="other") for device in PLUGIN_DEVICES]
        for kind in kinds:
            for rule in backend.option_rules(kind):
                key = rule.key.replace(".*", ".new_option")
                yield replace(kind, options={**kind.options, key: path}), key


ATTACKS = list(attacks())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(small_contents(folder), folder / "small.mosaic")
    return folder / "small.mosaic"


@pytest.fixture(scope="module")
def opened(sound: Path) -> Bundle:
    return read_bundle(sound)


def attacked(sound: Path, folder: Path, device: Device) -> Path:
    """A copy of the bundle whose second device is another, its digests made to fit."""
    bundle = Path(shutil.copytree(sound, folder / "small.mosaic"))
    (bundle / "devices.toml").write_text(devices_to_toml([Device("cpu", backend="onnxruntime"), device]))
    reseal(bundle, "devices.toml")
    return bundle


def reseal(bundle: Path, name: str) -> None:
    """Make the manifest fit a file that was changed."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(sealed(manifest)))


@pytest.mark.parametrize(
    ("device", "key"), ATTACKS, ids=[f"{d.backend}-{d.options.get('provider', '')}-{k}" for d, k in ATTACKS]
)
def test_no_option_of_any_backend_takes_a_path_from_a_bundle(opened: Bundle, device: Device, key: str) -> None:
    entries = (opened.devices[0], device)
    for command in COMMANDS:
        with pytest.raises(UsageError, match=r"device other sets") as caught:
            command(replace(opened, devices=entries))
        assert caught.value.exit_code == 2
        assert "-d devices.toml" in caught.value.hint


def test_every_backend_and_provider_is_attacked() -> None:
    assert {device.backend for device, _ in ATTACKS} == set(backends())
    assert {device.options.get("provider") for device, _ in ATTACKS} >= set(PROVIDER_FACTS)
    assert {key for _, key in ATTACKS} >= {"library", "package", "provider_options.new_option", "properties.new_option"}


@pytest.mark.parametrize(
    "options",
    [
        {"cores": "4000"},
        {"cores": "0-99999999999"},
        {"threads": 100_000},
        {"provider": "TensorrtExecutionProvider"},
        {"session_entries.ep.context_file_path": "x.onnx"},
        {"session_entries.session.collect_node_memory_stats_to_file": "x.csv"},
        {"own_memory": "cuda"},
    ],
)
def test_cores_threads_providers_and_files_that_are_not_this_machines_are_refused(
    opened: Bundle, options: dict[str, str | int]
) -> None:
    device = Device("other", backend="onnxruntime", options=options)
    for command in COMMANDS:
        with pytest.raises(UsageError, match="device other sets"):
            command(replace(opened, devices=(opened.devices[0], device)))


def test_a_machine_that_a_bundle_names_is_not_called(opened: Bundle) -> None:
    device = Device("other", backend="onnxruntime", host="ssh://evil@example.invalid")
    for command in COMMANDS:
        with pytest.raises(UsageError, match="belongs to another machine"):
            command(replace(opened, devices=(opened.devices[0], device)))


# ---- a library whose constructor writes a file: loaded by nobody but who trusts the bundle ---------------------------


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler here to build the library with")
    return found


@pytest.fixture
def evil(compiler: str, tmp_path: Path) -> tuple[Path, Path]:
    """A shared library, and the file that it writes when it is loaded."""
    marker, library = tmp_path / "loaded", tmp_path / "evil.so"
    source = f"""#include <stdio.h>
    __attribute__((constructor)) static void on_load(void) {{ fclose(fopen("{marker}", "w")); }}"""
    subprocess.run([compiler, "-shared", "-fPIC", "-xc", "-", "-o", library], input=source.encode(), check=True)
    return library, marker


def command_line(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = "from mosaic_onnx.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", ["run", "verify", "bench"])
def test_a_library_in_a_bundle_is_not_loaded(
    sound: Path, evil: tuple[Path, Path], tmp_path: Path, command: str
) -> None:
    library, marker = evil
    options = {"provider": "EvilExecutionProvider", "library": str(library)}
    bundle = attacked(sound, tmp_path, Device("other", backend="onnxruntime", options=options))
    ended = command_line(command, bundle)
    assert ended.returncode == 2, ended.stderr
    assert "device other sets" in ended.stderr
    assert not marker.exists()


def test_the_library_would_run_and_runs_for_who_trusts_the_bundle(
    sound: Path, evil: tuple[Path, Path], tmp_path: Path
) -> None:
    library, marker = evil
    options = {"provider": "EvilExecutionProvider", "library": str(library)}
    bundle = attacked(sound, tmp_path, Device("other", backend="onnxruntime", options=options))
    ended = command_line("run", bundle, "--trust")
    assert ended.returncode == 5, ended.stderr
    assert marker.exists()


def test_a_folder_in_a_bundle_is_not_written(sound: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    cache = tmp_path / "cache"
    device = Device("other", backend="openvino", options={"properties.CACHE_DIR": str(cache)})
    bundle = attacked(sound, tmp_path, device)
    with pytest.raises(UsageError, match=r"properties\.CACHE_DIR"):
        api.run(bundle)
    assert not cache.exists()
    api.run(bundle, trust=True)
    assert cache.exists()


def test_a_package_in_a_bundle_is_not_imported(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_package.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()")
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"provider": "EvilExecutionProvider", "package": "evil_package"}
    with pytest.raises(UsageError, match="package"):
        api.run(attacked(sound, tmp_path, Device("other", backend="onnxruntime", options=options)))
    assert not (tmp_path / "imported").exists()


# ---- what is allowed -------------------------------------------------------------------------------------------------


def test_harmless_options_are_taken_from_the_bundle(sound: Path, tmp_path: Path) -> None:
    options = {"threads": 1, "cores": "0", "optimisation": "basic", "provider": "CPUExecutionProvider"}
    result = api.run(attacked(sound, tmp_path, Device("other", backend="onnxruntime", options=options)))
    assert set(result.outputs) == {"y"}


def test_a_device_that_the_user_names_takes_the_place_of_the_bundles(sound: Path, tmp_path: Path) -> None:
    options = {"provider": "GoneExecutionProvider", "library": "/nowhere/gone.so"}
    bundle = attacked(sound, tmp_path, Device("other", backend="onnxruntime", options=options))
    mine = tmp_path / "mine.toml"
    mine.write_text(devices_to_toml([Device("other", backend="onnxruntime", options={"threads": 1})]))
    assert set(api.run(bundle, devices=[str(mine)]).outputs) == {"y"}


class WithNpu(OnnxRuntime):
    """ONNX Runtime on a machine that has the NPU."""

    def find(self) -> FoundDevices:
        return FoundDevices(devices=(PLUGIN_DEVICES[0],))


@pytest.mark.parametrize("value", ["/tmp/evil.so", "package:another_function"])
def test_an_entry_with_exactly_the_options_of_a_device_found_here_is_bound_to_it(value: str) -> None:
    candidates = {"onnxruntime": WithNpu()}
    same = replace(PLUGIN_DEVICES[0], name="npu", options={**PLUGIN_DEVICES[0].options, "threads": 1})
    assert bind_devices([same], candidates) == (same,)
    other = replace(same, options={**same.options, "provider_options.backend_path": value})
    with pytest.raises(UsageError, match="device npu sets"):
        bind_devices([other], candidates)


def test_a_harmless_option_that_calls_a_function_of_a_package_is_refused() -> None:
    options = {**PLUGIN_DEVICES[0].options, "provider_options.soc_model": "package:another_function"}
    with pytest.raises(UsageError, match="device qnn sets"):
        bind_devices([replace(PLUGIN_DEVICES[0], options=options)], {"onnxruntime": WithNpu()})


def test_a_backend_that_declares_nothing_is_given_no_option_by_a_bundle() -> None:
    class Undeclared:
        name = "undeclared"

    reasons = refused_options(Device("npu", backend="undeclared", options={"anything": 1}), Undeclared())  # type: ignore[arg-type]
    assert list(reasons) == ["anything"]


def test_the_bundle_that_compile_hands_back_is_bound_already(opened: Bundle) -> None:
    assert not opened.is_bound
    with pytest.raises(UsageError):
        api.run(replace(opened, devices=(opened.devices[0], ATTACKS[0][0])))
