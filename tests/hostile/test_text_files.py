"""Text files made to do harm: read in one way, refused with the file's name, soon and with little memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mosaic_onnx import cli
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.atomic import read_text
from mosaic_onnx.files.device_file import devices_from_toml, read_devices
from mosaic_onnx.files.profile_checks import MOST_COSTS
from mosaic_onnx.files.profile_file import read_profile
from mosaic_onnx.files.strict_json import load
from mosaic_onnx.importers import reading
from mosaic_onnx.loading import inputs
from mosaic_onnx.loading.inputs import read_arrays
from mosaic_onnx.npu.hardware.file import hardware_from_toml
from mosaic_onnx.scenarios.file import scenario_from_toml

DEVICE = 'schema = "mosaic-onnx/devices/1"\n[[devices]]\nname = "d"\nbackend = "onnxruntime"\n[devices.options]\n'


def profile(layer_count: int = 2, device_count: int = 1) -> dict[str, Any]:
    """A chain of layers that the first device runs."""
    return {
        "schema": "mosaic-onnx/profile/1",
        "model": {"name": "chain"},
        "devices": [{"name": f"d{number}"} for number in range(device_count)],
        "tensors": {f"t{number}": {"bytes": 4} for number in range(layer_count + 1)},
        "inputs": ["t0"],
        "outputs": [f"t{layer_count}"],
        "layers": [
            {"name": f"l{n}", "inputs": [f"t{n}"], "outputs": [f"t{n + 1}"], "cost": {"d0": {"seconds": 1.0}}}
            for n in range(layer_count)
        ],
    }


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize(
    "reader",
    [read_text, read_devices, read_profile, read_arrays, lambda path: reading.read_text(path, "PipeDream graph")],
    ids=["text", "devices", "profile", "inputs", "importers"],
)
def test_nobody_waits_for_a_pipe_or_reads_a_device(pipe: Path, reader: Callable[[Path], object]) -> None:
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(ModelError, match="no regular file"):
            reader(path)


def test_a_text_larger_than_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ModelError, match=r"large.json: it has .* and at most .* are read"):
        read_text(tmp_path / "large.json")


def test_a_path_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(ModelError, match="null"):
        read_text("a\0b")


def test_a_key_that_occurs_twice_among_many_is_found_at_once() -> None:
    text = "{" + ",".join(f'"k{number}": 1' for number in range(200_000)) + ', "k199999": 2}'
    with pytest.raises(ModelError, match="k199999: the key occurs twice"):
        load(text, "x")


@pytest.mark.parametrize(("inner", "said"), [('{"b": 1, "b": 2}', "twice"), ("NaN", "NaN is not a number")])
def test_what_is_wrong_is_found_however_deep_it_lies(inner: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load('{"a":' * 900 + inner + "}" * 900, "x")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = " + "1" * 5000, "not TOML: Exceeds the limit"),
        ("x." * 3000 + "y = 1", "lie within each other"),
        ("[devices.options" + ".a" * 3000 + "]", "lie within each other"),
        ("x = " + "[" * 20_000, "not TOML"),
        ("x = 2020-01-01", "an option is text, a number"),
    ],
    ids=["digits", "dotted keys", "dotted header", "brackets", "date"],
)
def test_toml_that_reaches_the_limits_of_its_reader_is_refused(line: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        devices_from_toml(DEVICE + line)


@pytest.mark.parametrize("reader", [scenario_from_toml, hardware_from_toml])
def test_every_toml_file_is_read_in_the_same_way(reader: Callable[[str], object]) -> None:
    with pytest.raises(ModelError, match="lie within each other"):
        reader("x." * 3000 + "y = 1")


def test_a_small_profile_of_a_huge_cost_table_is_refused(tmp_path: Path) -> None:
    side = int(MOST_COSTS**0.5) + 1
    (tmp_path / "wide.json").write_text(json.dumps(profile(side, side)))
    with pytest.raises(ModelError, match=f"{side} layers in {side} states are more than"):
        read_profile(tmp_path / "wide.json")


def test_inputs_that_unfold_to_far_more_than_their_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1 << 20, np.float32))
    assert list(read_arrays(tmp_path / "bomb.npz")) == ["x"]
    monkeypatch.setattr(inputs, "MOST_UNFOLDED_BYTES", 1 << 20)
    with pytest.raises(ModelError, match="it unfolds to"):
        read_arrays(tmp_path / "bomb.npz")


def test_names_from_a_file_do_not_reach_the_terminal_as_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = profile()
    content["layers"][0]["name"] = "\x1b[2J\x07\u202eevil"
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert cli.run(["show", str(tmp_path / "p.json")]) == 0
    said = capsys.readouterr()
    assert "evil" in said.out + said.err
    assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)
    content["\x1b[2J"] = 1
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert cli.run(["plan", str(tmp_path / "p.json")]) == 1
    assert "\\x1b[2J: unknown key" in capsys.readouterr().err


def test_too_little_memory_is_no_bug_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: object) -> str:
        raise MemoryError("no room for 64 GB")

    monkeypatch.setattr("mosaic_onnx.files.strict_json.read_text", fail)
    assert cli.run(["plan", "p.json"]) == 1
    assert "too little memory: no room for 64 GB" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["own.toml", "./board", "cpu, own.toml"])
def test_the_settings_of_a_folder_name_no_devices_file(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger's folder may hold a mosaic.toml beside the model, and a devices file names native libraries."""
    monkeypatch.chdir(tmp_path)
    Path("mosaic.toml").write_text(f'[inspect]\ndevices = ["{word}"]\n')
    assert cli.run(["inspect", "model.onnx"]) == 2
    assert "a devices file cannot be named here" in capsys.readouterr().err


def test_a_file_called_like_a_device_is_not_read_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaic_onnx.discovery.selection import select

    monkeypatch.chdir(tmp_path)
    Path("qnn").write_text(DEVICE)
    with pytest.raises(UsageError, match="qnn"):
        select(["qnn"])


@pytest.mark.parametrize(("key", "value"), [("period_ms", "1e-300"), ("deadline_ms", "1e300"), ("jitter_ms", "1e300")])
def test_times_that_no_search_ends_with_are_refused(key: str, value: str) -> None:
    given = {"period_ms": "10", key: value}
    lines = [f"{name} = {each}" for name, each in given.items()]
    text = "\n".join(['schema = "mosaic-onnx/scenario/1"', "[[groups]]", 'name = "g"', 'models = ["m.onnx"]', *lines])
    with pytest.raises(ModelError, match=rf"groups\[0\].{key}: input should be"):
        scenario_from_toml(text)
