"""Described decoders: their published sizes, the roofline, two shapes of one placement, and today's ways to offload."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mosaic_onnx.cli import run
from mosaic_onnx.cli.schemas import schema_of
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.importers import import_profile
from mosaic_onnx.importers.decoder.file import presets, read_decoder, read_machine
from mosaic_onnx.importers.decoder.profile import shape_profile
from mosaic_onnx.importers.decoder.work import Call, layers_of
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve

SMALL = """
schema = "mosaic-onnx/decoder/1"
name = "small"
source = "made up"
block_count = 3
hidden = 64
head_count = 4
kv_head_count = 2
head_dimension = 16
feed_forward = 128
vocabulary = 1000
"""


def published(name: str, **options: object) -> Profile:
    return import_profile("decoder", name, **options)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("llama-3.1-8b", 8.03), ("qwen2.5-32b-q4", 32.5), ("llama-3.1-70b-q4", 70.6), ("qwen1.5-moe-a2.7b", 14.3)],
)
def test_the_weights_add_up_to_the_published_number(name: str, billions: float) -> None:
    assert name in presets("decoder")
    works = layers_of(read_decoder(name), Call(1, 1.0), 1)
    assert sum(work.weight_count for work in works) / 1e9 == pytest.approx(billions, rel=0.01)


def test_a_decode_reads_only_the_experts_that_its_token_asks_for() -> None:
    works = layers_of(read_decoder("qwen1.5-moe-a2.7b"), Call(1, 1.0), 1)
    read = sum(work.read_bytes for work in works if work.name != "embed")
    assert read / 2 / 1e9 == pytest.approx(2.7 - 0.31, rel=0.03)  # without the embedding table, at 16 bits


def test_a_layer_takes_the_longer_of_arithmetic_and_traffic() -> None:
    decoder, machine = read_decoder("llama-3.1-8b"), read_machine("desktop-8gb")
    decode = shape_profile(decoder, machine, Call(1, 1.0), 640)
    prefill = shape_profile(decoder, machine, Call(512, 256.5), 640)
    layer = next(k for k, one in enumerate(decode.layers) if one.name == "blocks.0/feed_forward")
    weights = 3 * 4096 * 14336 + 4096
    cost = decode.layers[layer].cost["cpu"]
    assert cost is not None
    assert cost.seconds == pytest.approx(2e-6 + (2 * weights + 2 * 4096 * 2) / 83.2e9)
    cost = prefill.layers[layer].cost["cpu"]
    assert cost is not None
    assert cost.seconds == pytest.approx(2e-6 + 2 * weights * 512 / 972.8e9)


def test_the_mixed_profile_costs_the_weighted_sum_of_both_shapes() -> None:
    decoder, machine = read_decoder("llama-3.1-8b"), read_machine("desktop-8gb")
    machine = machine.model_copy(
        update={"devices": [d.model_copy(update={"memory_bytes": None}) for d in machine.devices]}
    )
    prefill = cost_table(shape_profile(decoder, machine, Call(512, 256.5), 640))
    decode = cost_table(shape_profile(decoder, machine, Call(1, 576.5), 640))
    mixed = cost_table(constrain(published("llama-3.1-8b"), Constraints(memory_bytes={"gpu": 1 << 40})))
    proposal: Proposal = (
        PlacedSlice(tuple(range(10)), 1),
        PlacedSlice(tuple(range(10, 40)), 0),
        PlacedSlice(tuple(range(40, len(mixed.layer_names))), 1),
    )
    both = simulate(prefill, proposal).seconds + 128 * simulate(decode, proposal).seconds
    assert simulate(mixed, proposal).seconds == pytest.approx(both)


def small(tmp_path: Path, memory_bytes: int) -> Profile:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    profile = import_profile("decoder", file, prompt_count=8, token_count=4)
    return constrain(profile, Constraints(memory_bytes={"gpu": memory_bytes}))


def placed(profile: Profile, method: str) -> dict[str, str]:
    solution = solve(cost_table(profile), Request(method=method, time_limit_s=1.0))
    return {profile.layers[layer].name: one.state for one in solution.plan.slices for layer in one.layers}


def test_ort_capacity_fills_the_device_in_order_and_stops(tmp_path: Path) -> None:
    profile = small(tmp_path, 0)
    sizes = {layer.name: layer.parameter_bytes for layer in profile.layers}
    room = sizes["embed"] + sizes["blocks.0/attention"] + sizes["blocks.0/feed_forward"] + 10_000
    where = placed(small(tmp_path, room), "ort-capacity:gpu")
    assert [name for name, state in where.items() if state == "gpu"] == [
        "embed",
        "blocks.0/attention",
        "blocks.0/feed_forward",
    ]


def test_first_n_layers_offloads_whole_blocks_and_neither_embedding_nor_head(tmp_path: Path) -> None:
    profile = small(tmp_path, 0)
    sizes = {layer.name: layer.parameter_bytes for layer in profile.layers}
    block = sizes["blocks.0/attention"] + sizes["blocks.0/feed_forward"]
    where = placed(small(tmp_path, 2 * block + 12_000), "first-n-layers:gpu")
    on_gpu = [name for name, state in where.items() if state == "gpu"]
    assert on_gpu == [f"blocks.{k}/{part}" for k in (0, 1) for part in ("attention", "feed_forward")]


def test_the_plan_beats_both_and_keeps_the_bound(tmp_path: Path) -> None:
    profile = small(tmp_path, 150_000)
    table = cost_table(profile)
    ours = solve(table, Request(time_limit_s=2.0))
    assert ours.plan.bound is not None
    assert ours.plan.bound.value <= ours.timeline.seconds * (1 + 1e-9)
    for method in ("ort-capacity:gpu", "first-n-layers:gpu"):
        other = solve(table, Request(method=method)).timeline.seconds
        assert ours.timeline.seconds <= other * (1 + 1e-9)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("feed_forward = 128", "feed_forward or experts"),
        ("hidden = 64", "hidden"),
        ("block_count = 3", "block_count"),
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(SMALL.replace(line, ""))
    with pytest.raises(ModelError, match=said):
        import_profile("decoder", file)


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no decoder 'gpt-9'"):
        import_profile("decoder", Path("gpt-9"))
    with pytest.raises(UsageError, match="token_count is 0"):
        published("llama-3.1-8b", token_count=0)
    (tmp_path / "unknown.toml").write_text(SMALL + "colour = 3\n")
    with pytest.raises(ModelError, match="colour"):
        import_profile("decoder", tmp_path / "unknown.toml")


def test_profiles_of_different_models_are_no_shapes_of_one() -> None:
    from mosaic_onnx.api import mix_shapes

    one = published("llama-3.1-8b")
    other = replace(one, layers=one.layers[:-1], outputs=())
    with pytest.raises(UsageError, match="outputs are not those of the first"):
        mix_shapes([one, other], [1.0, 2.0])
    with pytest.raises(UsageError, match="2 shapes have 1 weights"):
        mix_shapes([one, one], [1.0])
    with pytest.raises(UsageError, match="above 0"):
        mix_shapes([one, one], [1.0, 0.0])


def test_both_descriptions_have_a_json_schema() -> None:
    assert set(schema_of("decoder")["required"]) >= {"block_count", "hidden", "source"}
    assert schema_of("machine")["properties"]["devices"]["minItems"] == 1


def test_the_commands_import_and_mix_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    files = []
    for name, tokens in (("prefill", "9"), ("decode", "1")):
        files.append(str(tmp_path / f"{name}.json"))
        words = ["import", "decoder", str(tmp_path / "small.toml"), "-o", files[-1]]
        assert run([*words, "--option", "prompt_count=4", "--option", f"token_count={tokens}"]) == 0
    capsys.readouterr()
    limits = ["--time-limit", "0.5", "--json"]
    assert run(["plan", *files, "--shapes", "1,128", *limits]) == 0
    both = json.loads(capsys.readouterr().out)["predicted"]["seconds"]
    assert run(["plan", files[0], *limits]) == 0
    assert both > json.loads(capsys.readouterr().out)["predicted"]["seconds"]
    assert run(["plan", *files, "--shapes", "1,128", "--time-limit", "0.5"]) == 0
    said = capsys.readouterr()
    assert "prefill.json: " in said.out + said.err
    assert run(["plan", *files, "--shapes", "1,x"]) == 2
    assert run(["plan", *files, "--shapes", "1"]) == 2
