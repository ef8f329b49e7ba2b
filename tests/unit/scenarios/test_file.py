"""A scenario file is read strictly; every complaint names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.scenarios.file import read_scenario, scenario_from_toml

GOOD = """schema = "mosaic-onnx/scenario/1"
drop = "late"
accelerator = "npu"
[[groups]]
name = "camera"
period_ms = 33.5
deadline_ms = 20
jitter_ms = 1.5
weight = 2.0
models = ["nets/detector.onnx", { profile = "segmenter.profile.json", name = "segmenter" }]
[[groups]]
name = "audio"
period_ms = 100
models = ["wake.onnx"]
"""


def test_every_key_is_read_in_its_unit() -> None:
    scenario = scenario_from_toml(GOOD, folder=Path("there"))
    camera, audio = scenario.groups
    assert (camera.period_s, camera.deadline_s, camera.jitter_s, camera.weight) == (0.0335, 0.02, 0.0015, 2.0)
    assert (audio.deadline_s, audio.weight, scenario.accelerator) == (0.1, 1.0, "npu")
    assert camera.models[0].path == Path("there/nets/detector.onnx")
    assert [entry.is_profile for entry in camera.models] == [False, True]
    assert scenario.model_names == ("camera/detector", "camera/segmenter", "audio/wake")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("period_ms = 33.5", "period_ms = nan", r"groups\[0\]\.period_ms: .*finite"),
        ("period_ms = 33.5", "period_ms = 0", r"groups\[0\]\.period_ms: .*greater than or equal to"),
        ("deadline_ms = 20", "deadline_ms = -1", r"groups\[0\]\.deadline_ms: .*greater than or equal to"),
        ("jitter_ms = 1.5", "jitter_ms = -1", r"groups\[0\]\.jitter_ms"),
        ("weight = 2.0", 'weight = "2"', r"groups\[0\]\.weight"),
        ("weight = 2.0", "speed = 2.0", r"groups\[0\]\.speed: unknown key"),
        ('drop = "late"', 'drop = "early"', r"drop"),
        ('name = "audio"', 'name = "camera"', r"groups\[1\]\.name: 'camera' stands at groups\[0\] already"),
        ('name = "audio"', 'name = "a/b"', r"groups\[1\]\.name: .*no '/'"),
        ('["wake.onnx"]', '["wake.onnx", "b/wake.onnx"]', r"groups\[1\]\.models\[1\]\.name: 'wake' stands"),
        ('["wake.onnx"]', "[]", r"groups\[1\]\.models"),
        ('["wake.onnx"]', '[{ name = "x" }]', r"groups\[1\]\.models\[0\]: give either"),
        ('["wake.onnx"]', "[5]", r"groups\[1\]\.models\[0\]: must be a file's name or a table, got 5"),
        ('["wake.onnx"]', '[{ modle = "x" }]', r"groups\[1\]\.models\[0\]\.modle: unknown key$"),
        ('["wake.onnx"]', '[""]', r"groups\[1\]\.models\[0\]\.model: .*at least 1 character"),
        ("scenario/1", "scenario/2", "expected 'mosaic-onnx/scenario/1'"),
        ("period_ms = 100", "period_ms = ", "not TOML"),
        ("period_ms = 100", "", r"groups\[1\]\.period_ms: missing"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(ModelError, match=complaint):
        scenario_from_toml(GOOD.replace(old, new, 1))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.toml"):
        read_scenario(tmp_path / "nothing.toml")
