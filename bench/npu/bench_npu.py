"""The NPU emulator: time of the exact search, agreement of its two latency models, plans over dataflows, distance of
the genetic baseline, and a real NPU's rates beside untuned predictions. The emulated figures do not depend on this
machine; the times do.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.npu.networks import alexnet, convolution, googlenet, resnet50
from bench.report import Row
from mosaic_onnx.backends.simulated.backend import BACKEND as SIMULATED
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.npu import LoopNest, ModelLayers, best_dataflow, layers_of_model, load_hardware, map_model, simulate
from mosaic_onnx.npu.backend.backend import BACKEND
from mosaic_onnx.npu.search.dataflow import nest_on
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.profiling.build_profile import ModelIdentity, StateResult, compose_profile
from mosaic_onnx.reproduce.workloads import layered
from mosaic_onnx.zoo import WORKLOADS, build_shapes

HIKEY_970 = {"alexnet": 32.5, "googlenet": 34.4, "resnet50": 21.9, "squeezenet": 49.3}
"""Images a second of the real NPU (Wang, Pathania, Mitra 2020); MobileNet is not supported there."""
AGREE = 0.05


def run(quick: bool) -> list[Row]:
    rows = search_times()
    for preset in ("tpu-like",) if quick else ("eyeriss", "tpu-like", "nvdla-full"):
        rows += agreement(preset, ["squeezenet", "mobilenet_v2_1.0"] if quick else list(WORKLOADS))
    rows += dataflow_plans(["squeezenet"] if quick else ["mobilenet_v2_1.0", "resnet50"])
    return rows + genetic_distance(3 if quick else 20) + real_npu()


def search_times() -> list[Row]:
    """Wall and processor time of whole-model searches, with an empty and with a full cache."""
    hardware, model = load_hardware("eyeriss"), resnet50()
    wide = convolution("512", 512, 28, 512, 3)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        for words, bar in (("cold", 60.0), ("warm", 2.0)):
            wall, cpu = timed(lambda: map_model(model, hardware, cache=cache))
            note = f"wall; {cpu:.1f} s of processor time; the machine may have been loaded"
            rows.append(Row(f"ResNet-50 on eyeriss, {words}", wall, "s", bar, note=note))
    wall, cpu = timed(lambda: best_dataflow(wide, hardware))
    rows.append(Row("one layer of 512 channels, 3×3 on 28²", wall, "s", 2.0, note=f"wall; {cpu:.1f} s processor"))
    return rows


def timed(work: object) -> tuple[float, float]:
    start, used = time.perf_counter(), time.process_time()
    work()  # type: ignore[operator]
    return time.perf_counter() - start, time.process_time() - used


def agreement(preset: str, names: list[str]) -> list[Row]:
    """The share of layers that the cycle-level model puts more than 5 % above the analytical one; how many below."""
    hardware = load_hardware(preset)
    ratios: list[float] = []
    known: dict[str, float] = {}
    for name in names:
        for layer in layers_of_model(build_shapes(name), hardware).layers:
            if isinstance(layer, LoopNest):
                key = str(layer.key())
                if key not in known:
                    found = best_dataflow(layer, hardware)
                    if found.mapping is None:
                        continue
                    known[key] = simulate(nest_on(layer, hardware), hardware, found.mapping).cycles / found.cost.cycles
                ratios.append(known[key])
    apart = sum(ratio > 1 + AGREE for ratio in ratios) / len(ratios)
    note = f"{len(ratios)} layers of {len(names)} workloads; least ratio {min(ratios):.6f}, largest {max(ratios):.3f}"
    below = sum(ratio < 1 - 1e-9 for ratio in ratios)
    return [
        Row(f"cycle-level over analytical by more than 5 %, {preset}", apart, "ratio", 0.05, "layers", note=note),
        Row(f"cycle-level below analytical, {preset}", below, "layers", 0),
    ]


def dataflow_plans(names: list[str]) -> list[Row]:
    """Plans on the described board's big cores and Eyeriss: over all dataflows, and with each one alone."""
    rows = []
    cpu = next(one for one in read_shipped("hikey970") if one.name == "big")
    board, (npu,) = replace(cpu, levels=cpu.levels[-1:]), BACKEND.described("eyeriss")
    for name in names:
        profile = stated_profile(name, board, npu)
        every = plan_profile(profile)
        alone = {}
        for level in npu.levels:
            one = plan_profile(stated_profile(name, board, replace(npu, levels=(level,))))
            alone[level.name] = one.predicted.seconds
        best = min(alone, key=lambda level: alone[level])
        used = sorted({each.state for each in every.slices})
        words = ", ".join(f"{level} {seconds * 1e3:.4g}" for level, seconds in alone.items())
        note = f"{every.predicted.seconds * 1e3:.4g} ms with {', '.join(used)}; one dataflow alone (ms): {words}"
        rows.append(
            Row(
                f"{name}: plan over all dataflows, over {best} alone",
                every.predicted.seconds / alone[best],
                "×",
                1.0,
                note=note,
            )
        )
    return rows


def stated_profile(name: str, board: Device, npu: Device) -> Profile:
    """The costs that a described board and an emulated NPU state for a network of the zoo; nothing is measured."""
    one = layered(name, "fused")
    results = []
    for source, device in ((SIMULATED, board), (BACKEND, npu)):
        for state in device.states:
            said = source.layer_costs(one.facts, device, state)
            costs = {place: cost for place, cost in enumerate(said) if isinstance(cost, Cost)}
            results.append(StateResult(state, costs, {n: why for n, why in enumerate(said) if isinstance(why, str)}))
    copies = (*SIMULATED.copies(board), *BACKEND.copies(npu))
    composed = compose_profile(ModelIdentity(name), one.graph, (board, npu), results, copies)
    return replace(composed, switches=BACKEND.switches(npu))


def genetic_distance(seeds: int) -> list[Row]:
    """Return rows of the published genetic search's gap to the optimum (median and worst of the seeds)."""
    hardware = load_hardware("flowoptimizer-168")
    rows = []
    for layer in (convolution("3×3 64→64 @56", 64, 56, 64, 3), convolution("1×1 256→128 @28", 256, 28, 128, 1)):
        best = best_dataflow(layer, hardware).cost.cycles
        found = [
            best_dataflow(layer, hardware, dataflow="genetic", seed=seed).cost.cycles / best for seed in range(seeds)
        ]
        note = f"{seeds} seeds, 200 evaluations each; worst {max(found):.2f}"
        rows.append(Row(f"genetic search over the optimum, {layer.name}", statistics.median(found), "×", note=note))
    return rows


def real_npu() -> list[Row]:
    """Images a second of the HiKey 970's NPU, predicted without tuning."""
    hardware = load_hardware("kirin970")
    squeezenet = layers_of_model(build_shapes("squeezenet"), hardware)
    models = (alexnet(), googlenet(), resnet50(), ModelLayers("squeezenet", squeezenet.layers))
    rows = []
    for model in models:
        rate = hardware.clock_hz / map_model(model, hardware).cycles
        real = HIKEY_970[model.name]
        note = f"real {real} images/s; the description was not tuned: launches, copies and software are not in it"
        rows.append(Row(f"kirin970, {model.name}: predicted / real rate", rate / real, "×", note=note))
    return rows
