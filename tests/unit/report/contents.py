"""A small plan on two devices, and the content of its page."""

from __future__ import annotations

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.report.content import Measured, ReportContent
from mosaic_onnx.report.gather import Subject, content_of
from mosaic_onnx.runtime.trace import Span, Trace

HOSTILE = "</script><img src=x onerror=alert(1)>"


def profile(name: str = "small.onnx", *, joules: bool = True, second_name: str = "conv1") -> Profile:
    """Two branches that meet; all but the stem is faster on gpu, which lacks Resize; each copy costs a millisecond."""
    names = ("stem", second_name, "conv2", "join", "head")
    reads = (("x",), ("stem_out",), ("stem_out",), ("a", "b"), ("joined",))
    makes = (("stem_out",), ("a",), ("b",), ("joined",), ("y",))
    cpu_s, gpu_s = (0.002, 0.003, 0.003, 0.020, 0.020), (0.030, 0.0015, 0.0015, 0.004, None)
    layers = []
    for at, own in enumerate(names):
        gpu = gpu_s[at]
        costs = {"cpu": Cost(cpu_s[at], cpu_s[at] * 10 if joules else None)}
        if gpu is not None:
            costs["gpu"] = Cost(gpu, gpu * 5 if joules else None)
        reasons = {"gpu": "Resize is not supported"} if gpu is None else {}
        operator = "Resize" if gpu is None else "Conv"
        layers.append(
            ProfileLayer(
                own, reads[at], makes[at], costs, reasons, parameter_bytes=2_000_000, op_types=(operator,), nodes=(own,)
            )
        )
    tensors = {"x": 100_000, "stem_out": 400_000, "a": 200_000, "b": 200_000, "joined": 400_000, "y": 4_000}
    copies = (TransferCost("host", "gpu", seconds=0.001), TransferCost("gpu", "host", seconds=0.001))
    devices = (Device("cpu", "onnxruntime"), Device("gpu", "onnxruntime", memory_bytes=50_000_000))
    return Profile(name, devices, tensors, ("x",), ("y",), tuple(layers), copies)


def content(**options: bool | str) -> ReportContent:
    """Return the page's content of that profile's plan, with a measured run of two spans."""
    made = profile(**options)  # type: ignore[arg-type]
    spans = (
        Span("slice 0", "slice", "cpu", 0.0, 0.009, slice=0),
        Span("a", "transfer", "gpu", 0.009, 0.010, slice=1, bytes=200_000),
    )
    measured = Measured(
        "plan",
        "the plan is fastest",
        {"plan": 0.0062, "cpu": 0.0081, "cpu, runtime's default": 0.0077},
        {"plan": 0.012, "cpu": 0.02, "cpu, runtime's default": 0.016},
    )
    subject = Subject(made, plan_profile(made), measured)
    return content_of(subject, time_limit_s=1.0, trace=Trace(spans, 0.010))
