"""A small bundle, made without measuring anything."""

from __future__ import annotations

from pathlib import Path

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.bundle import BundleContents
from mosaic_onnx.rewriting.rewrite import partition, slice_models
from tests.unit.small_models import from_text, normalised

DEVICES = (Device("cpu", backend="onnxruntime"), Device("other", backend="onnxruntime"))


def small_contents(folder: Path) -> BundleContents:
    """Two slices on two devices; the weight ``w`` (4 KiB) is shared by both, the weight ``k`` is small."""
    weight = ", ".join(["0.5"] * 1024)
    model = from_text(
        f"g (float[1024] x) => (float[1024] y) <float[1024] w = {{{weight}}}, float k = {{2}}> "
        "{ [a] h = Add(x, w)  [b] i = Mul(h, w)  [c] y = Mul(i, k) }"
    )
    one = normalised(model, folder)
    costs = {device.name: Cost(1e-3) for device in DEVICES}
    layers = (
        ProfileLayer("a", ("x",), ("h",), costs, nodes=("a",)),
        ProfileLayer("b", ("h",), ("y",), costs, nodes=("b", "c")),
    )
    sizes = {"x": 4096, "h": 4096, "y": 4096}
    profile = Profile("small", DEVICES, sizes, ("x",), ("y",), layers)
    slices = (Slice((0,), "cpu", 0.0, 1e-3), Slice((1,), "other", 1e-3, 2e-3))
    plan = Plan("latency", "sequential", "forced", slices, (), Predicted(2e-3, None, 1e-3))
    return BundleContents(
        model=partition(model, profile, plan),
        folder=str(folder),
        original=one.model,
        original_folder=str(folder),
        slices=slice_models(one.model, str(folder), plan, profile),
        profile=profile,
        plan=plan,
        devices=DEVICES,
        facts={"replay": ["mosaic-onnx", "compile", "small.onnx"]},
    )
