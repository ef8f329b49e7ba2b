"""The profile file: what is read, what is refused with which path, what is written."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json, read_profile, write_profile

TINY: dict[str, Any] = {
    "schema": "mosaic-onnx/profile/1",
    "model": {"name": "tiny", "sha256": None},
    "devices": [
        {
            "name": "cpu",
            "levels": [
                {"name": "600MHz", "frequency_hz": 6e8, "voltage_v": 0.8},
                {"name": "1800MHz", "frequency_hz": 1.8e9, "voltage_v": 1.1},
            ],
        },
        {
            "name": "npu",
            "io": "host",
            "slice_memory_bytes": 100000000,
            "activation_memory": "sum",
            "slice_seconds": 0.0,
        },
    ],
    "tensors": {"x": {"bytes": 602112}, "a": {"bytes": 401408}, "y": {"bytes": 4000}},
    "inputs": ["x"],
    "outputs": ["y"],
    "layers": [
        {
            "name": "conv1",
            "inputs": ["x"],
            "outputs": ["a"],
            "parameter_bytes": 9408,
            "cost": {
                "cpu@600MHz": {"seconds": 0.009, "joules": 0.004},
                "cpu@1800MHz": {"seconds": 0.003, "joules": 0.006},
                "npu": {"seconds": 0.0005, "joules": 0.0007},
            },
        },
        {
            "name": "fc",
            "inputs": ["a"],
            "outputs": ["y"],
            "parameter_bytes": 4000000,
            "cost": {
                "cpu@600MHz": {"seconds": 0.004, "joules": 0.002},
                "cpu@1800MHz": {"seconds": 0.0015, "joules": 0.003},
                "npu": None,
            },
            "reasons": {"npu": "operator not supported"},
        },
    ],
    "copies": [
        {
            "from": "host",
            "to": "npu",
            "seconds_per_byte": 1e-9,
            "seconds": 2e-5,
            "tensors": {"x": {"seconds": 0.0007}},
        },
        {"from": "npu", "to": "host", "seconds_per_byte": 1e-9, "seconds": 2e-5},
    ],
    "switches": [{"device": "cpu", "from": "600MHz", "to": "1800MHz", "seconds": 1e-4, "joules": 0.0}],
    "segments": [{"first": 0, "last": 0, "state": "npu", "seconds": 0.00045, "joules": 0.0006}],
    "copies_occupy_device": False,
}
"""The example of the format's description."""


def tiny() -> Profile:
    return profile_from_json(json.dumps(TINY))


def changed(path: tuple[str | int, ...], value: object) -> str:
    """The example with one value set (or, for the last key of a list equal to its length, appended)."""
    content = copy.deepcopy(TINY)
    target: Any = content
    for key in path[:-1]:
        target = target[key]
    if isinstance(target, list) and path[-1] == len(target):
        target.append(value)
    else:
        target[path[-1]] = value
    return json.dumps(content)


def without(*path: str | int) -> str:
    content = copy.deepcopy(TINY)
    target: Any = content
    for key in path[:-1]:
        target = target[key]
    del target[path[-1]]
    return json.dumps(content)


def test_the_example_of_the_format_is_read() -> None:
    profile = tiny()
    assert profile.states == ("cpu@600MHz", "cpu@1800MHz", "npu")
    assert profile.layers[1].cost["npu"] is None
    assert profile.layers[0].cost["npu"] == Cost(0.0005, 0.0007)
    assert profile.layers[1].reasons == {"npu": "operator not supported"}
    assert profile.copies[0].tensors["x"].seconds == 0.0007
    assert profile.devices[1].io == "host"
    assert profile.devices[1].memory_bytes is None
    assert profile.segments[0].joules == 0.0006


def test_what_is_written_reads_as_the_same_profile() -> None:
    assert profile_from_json(profile_to_json(tiny())) == tiny()


def test_equal_profiles_are_equal_bytes(tmp_path: Path) -> None:
    write_profile(tiny(), tmp_path / "a.json")
    write_profile(read_profile(tmp_path / "a.json"), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["a.json", "b.json"]


def test_the_options_of_a_device_travel_in_its_meta_and_are_not_acted_on_again() -> None:
    device = Device("cpu", options={"threads": 4, "affinity": "0-3", "spin": False}, meta={"vendor": "x"})
    options = {"options": {"threads": 4, "affinity": "0-3", "spin": False}, "vendor": "x"}
    profile = replace(tiny(), devices=(device,), layers=(), copies=(), switches=(), segments=(), outputs=())
    text = profile_to_json(profile)
    assert json.loads(text)["devices"][0]["meta"] == options
    read = profile_from_json(text)
    assert read.devices[0].meta == options
    assert not read.devices[0].options
    assert profile_to_json(read) == text


def test_meta_may_stand_in_any_object_and_is_kept() -> None:
    content = copy.deepcopy(TINY)
    objects: list[dict[str, Any]] = [
        content,
        content["model"],
        content["devices"][0],
        content["devices"][0]["levels"][0],
        content["tensors"]["a"],
        content["layers"][0],
        content["layers"][0]["cost"]["npu"],
        content["copies"][0],
        content["copies"][0]["tensors"]["x"],
        content["switches"][0],
        content["segments"][0],
    ]
    for number, item in enumerate(objects):
        item["meta"] = {"number": number, "free": [None, {"deep": True}]}
    profile = profile_from_json(json.dumps(content))
    written = profile_to_json(profile)
    assert written.count('"number"') == len(objects)
    assert profile_from_json(written) == profile


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("speed",), 1, "speed: unknown key"),
        (("devices", 0, "cores"), 8, "devices[0].cores: unknown key"),
        (("layers", 1, "cost", "npu"), {"seconds": 1, "watts": 2}, "layers[1].cost.npu.watts: unknown key"),
        (("layers", 0, "cost", "npu", "seconds"), -1.0, "layers[0].cost.npu.seconds"),
        (("layers", 0, "cost", "npu", "seconds"), math.nan, "layers[0].cost.npu.seconds: NaN"),
        (("layers", 0, "cost", "npu", "seconds"), math.inf, "layers[0].cost.npu.seconds: Infinity"),
        (("layers", 0, "cost", "npu", "seconds"), "0.1", "layers[0].cost.npu.seconds"),
        (("layers", 0, "cost", "npu", "seconds"), True, "layers[0].cost.npu.seconds"),
        (("layers", 0, "cost", "npu"), {"seconds": 0.1}, "layers[0].cost.npu.joules: joules are given for all"),
        (("layers", 0, "cost", "tpu"), {"seconds": 0.1, "joules": 0}, "layers[0].cost.tpu: unknown state"),
        (("layers", 0, "cost", "cpu"), {"seconds": 0.1, "joules": 0}, "layers[0].cost.cpu: unknown state"),
        (("layers", 0, "reasons"), {"gpu": "no"}, "layers[0].reasons.gpu: unknown state"),
        (("layers", 0, "allowed"), ["npu", "gpu"], "layers[0].allowed[1]: unknown device 'gpu'"),
        (("layers", 0, "inputs", 1), "q", "layers[0].inputs[1]: unknown tensor 'q'"),
        (("layers", 0, "inputs", 0), "a", "layers[0].inputs[0]: not a topological order: layer 'conv1'"),
        (("layers", 0, "inputs", 1), "y", "layers[0].inputs[1]: not a topological order: layer 'fc'"),
        (("layers", 1, "outputs", 1), "a", "layers[1].outputs[1]: tensor 'a' is made twice"),
        (("layers", 1, "outputs", 1), "x", "layers[1].outputs[1]: tensor 'x' is made twice"),
        (("layers", 1, "name"), "conv1", "layers[1].name: 'conv1' is already at layers[0]"),
        (("inputs", 1), "x", "inputs[1]: 'x' is already"),
        (("outputs", 1), "q", "outputs[1]: unknown tensor 'q'"),
        (("tensors", "a", "bytes"), 1.5, "tensors.a.bytes"),
        (("tensors", "a", "bytes"), -1, "tensors.a.bytes"),
        (("tensors", "a", "bytes"), 2**60, "tensors.a.bytes"),
        (("devices", 1, "name"), "host", "devices[1].name: host is no device's name"),
        (("devices", 1, "name"), "n@pu", "devices[1].name: '@' may not be part of a name"),
        (("devices", 1, "name"), "cpu", "devices[1].name: 'cpu' is already at devices[0]"),
        (("devices", 0, "levels", 1, "name"), "600MHz", "devices[0].levels[1].name"),
        (("devices", 0, "levels", 1, "name"), "6@MHz", "devices[0].levels[1].name"),
        (("devices", 0, "io"), "guest", "devices[0].io"),
        (("devices", 0, "idle_w"), -0.1, "devices[0].idle_w"),
        (("copies", 0, "from"), "gpu", "copies[0].from: unknown device or state 'gpu'"),
        (("copies", 1, "to"), "npu", "copies[1].to: from and to are the same place"),
        (("copies", 2), {"from": "host", "to": "npu"}, "copies[2]: copies[0] is already from host to npu"),
        (("copies", 2), {"from": "host", "to": "cpu"}, "copies: device cpu has its own memory"),
        (("copies", 2), {"from": "host", "to": "cpu@600MHz"}, "needs an entry from cpu@600MHz to host"),
        (("copies", 0, "tensors"), {"q": {"seconds": 1}}, "copies[0].tensors.q: unknown tensor"),
        (("switches", 0, "device"), "gpu", "switches[0].device: unknown device 'gpu'"),
        (("switches", 0, "to"), "1MHz", "switches[0].to: device cpu has no level '1MHz'"),
        (("switches", 1), TINY["switches"][0], "switches[1]: switches[0] is already the same"),
        (("segments", 0, "last"), 2, "segments[0].last: there is no layer 2"),
        (("segments", 0, "first"), 1, "segments[0].first: first (1) comes after last (0)"),
        (("segments", 0, "state"), "cpu", "segments[0].state: unknown state 'cpu'"),
        (("segments", 1), TINY["segments"][0], "segments[1]: segments[0] is already the same slice"),
        (("schema",), "mosaic-onnx/profile/2", "schema is 'mosaic-onnx/profile/2'"),
        (("layers", 0), [], "layers[0]"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(path: tuple[str | int, ...], value: object, named: str) -> None:
    with pytest.raises(ModelError) as caught:
        profile_from_json(changed(path, value))
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("schema",), "schema"),
        (("tensors", "a"), "layers[0].outputs[0]: unknown tensor 'a'"),
        (("tensors", "a", "bytes"), "tensors.a.bytes: missing"),
        (("layers", 0, "name"), "layers[0].name: missing"),
        (("layers", 0, "cost", "npu", "seconds"), "layers[0].cost.npu.seconds: missing"),
        (("layers", 0), "layers[0].inputs[0]: no layer makes tensor 'a'"),
        (("copies", 0), "needs an entry from host to npu"),
        (("copies", 1), "needs an entry from npu to host"),
        (("copies", 1, "to"), "copies[1].to: missing"),
        (("segments", 0, "seconds"), "segments[0].seconds: missing"),
    ],
)
def test_a_missing_value_is_refused_with_its_path(path: tuple[str | int, ...], named: str) -> None:
    with pytest.raises(ModelError) as caught:
        profile_from_json(without(*path))
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"schema": "mosaic-onnx/profile/1", "tensors": {"a": {"bytes": 1, "bytes": 2}}}', "tensors.a.bytes"),
        ('{"schema": "mosaic-onnx/profile/1", "meta": {"a": NaN}}', "meta.a"),
        ('{"schema": "mosaic-onnx/profile/1", "meta": ' + "[" * 100_000 + "]" * 100_000 + "}", "too deeply"),
        ('{"schema": "mosaic-onnx/profile/1", "tensors": {"a": {"bytes": ' + "9" * 5000 + "}}}", "not JSON"),
        ('{"schema": "mosaic-onnx/profile/1", "devices": [{"name": "a", "idle_w": 1e999}]}', "devices[0].idle_w"),
    ],
)
def test_a_text_that_is_no_profile_is_refused(text: str, named: str) -> None:
    with pytest.raises(ModelError) as caught:
        profile_from_json(text, "some.json")
    assert named in caught.value.message
    assert caught.value.message.startswith("some.json: ")


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert profile_from_json(changed(("tensors", "a", "bytes"), 4e5)).tensor_bytes["a"] == 400_000


def test_a_copy_may_name_each_level_of_a_device() -> None:
    content = copy.deepcopy(TINY)
    for level in ("600MHz", "1800MHz"):
        content["copies"] += [
            {"from": "host", "to": f"cpu@{level}", "seconds": 1e-6},
            {"from": f"cpu@{level}", "to": "host", "seconds": 1e-6},
        ]
    assert len(profile_from_json(json.dumps(content)).copies) == 6


def test_an_empty_list_of_allowed_devices_means_all() -> None:
    assert profile_from_json(changed(("layers", 0, "allowed"), [])).layers[0].allowed is None


def test_no_allowed_device_cannot_be_written() -> None:
    layers = (replace(tiny().layers[0], allowed=()), tiny().layers[1])
    with pytest.raises(UsageError, match="conv1"):
        profile_to_json(replace(tiny(), layers=layers))


def test_an_infinite_cost_cannot_be_written() -> None:
    layers = (replace(tiny().layers[0], cost={"npu": Cost(math.inf, 0.0)}), tiny().layers[1])
    with pytest.raises(UsageError, match="cannot be written"):
        profile_to_json(replace(tiny(), layers=layers))


def test_a_profile_that_does_not_fit_together_is_not_written(tmp_path: Path) -> None:
    profile = replace(tiny(), layers=(ProfileLayer("a", inputs=("nowhere",)),), segments=())
    with pytest.raises(ModelError, match="nowhere"):
        write_profile(profile, tmp_path / "p.json")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ModelError, match=r"absent\.json"):
        read_profile("absent.json")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(b'{"schema": "\xff"}')
    with pytest.raises(ModelError, match="UTF-8"):
        read_profile(tmp_path / "p.json")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        write_profile(tiny(), tmp_path / "nowhere" / "p.json")
