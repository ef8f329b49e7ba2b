"""Known facts of execution providers: their device entries, missing operators, and special treatment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mosaic_onnx.backends.onnxruntime.claims import QNN_CLAIMS, WEBGPU_CLAIMS, Claim
from mosaic_onnx.core.devices import Device

NAME = "onnxruntime"
QNN = "QNNExecutionProvider"
WEBGPU = "WebGpuExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
NVIDIA_PROVIDERS = (CUDA, TENSORRT)


@dataclass(frozen=True)
class ProviderFacts:
    """The facts of one provider.

    Attributes:
        rewritten: operators that it lacks or computes wrong, and that ``legalise`` can replace.
        claims: by operator, why a node of it must not be given to the provider.
        keeps_first_options: the provider options of the first session hold for all later ones of the process.
        takes_turns: two threads must not use it at the same time, even with different sessions.
        narrows_integers: it holds 64-bit integers in 32 bits, and saturates sums and products.
        crashes_at_empty: it crashes the process where a tensor has no elements.
        harmless_options: provider options that a bundle may set; the others may name libraries, files and folders.
    """

    rewritten: tuple[str, ...] = ()
    claims: Mapping[str, Claim] = field(default_factory=dict)
    keeps_first_options: bool = False
    takes_turns: bool = False
    narrows_integers: bool = False
    crashes_at_empty: bool = False
    harmless_options: tuple[str, ...] = ()


PROVIDER_FACTS: Mapping[str, ProviderFacts] = {
    QNN: ProviderFacts(
        rewritten=("Dropout", "Mean"),
        claims=QNN_CLAIMS,
        keeps_first_options=True,
        narrows_integers=True,
        crashes_at_empty=True,
        harmless_options=(
            *("soc_model", "htp_arch", "vtcm_mb", "htp_performance_mode", "htp_graph_finalization_optimization_mode"),
            *("enable_htp_fp16_precision", "offload_graph_io_quantization", "qnn_context_priority"),
        ),
    ),
    WEBGPU: ProviderFacts(
        rewritten=("Sum", "Mean", "Dropout", "LRN", "LogSoftmax", "IsNaN", "Sign", "Softmax"),
        claims=WEBGPU_CLAIMS,
        takes_turns=True,
        harmless_options=("preferredLayout", "powerPreference", "enableGraphCapture", "enableInt64", "validationMode"),
    ),
    CUDA: ProviderFacts(
        harmless_options=(
            *("device_id", "use_tf32", "gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search"),
            *("cudnn_conv_use_max_workspace", "do_copy_in_default_stream", "prefer_nhwc"),
        )
    ),
}


def facts_of(provider: str) -> ProviderFacts:
    """Return the facts of a provider; the defaults for one that is not listed."""
    return PROVIDER_FACTS.get(provider, ProviderFacts())


PLUGIN_DEVICES: tuple[Device, ...] = (
    Device(
        "qnn",
        backend=NAME,
        precision="f16",
        io="host",
        options={
            "provider": QNN,
            "package": "onnxruntime_qnn",
            "provider_options.backend_path": "package:get_qnn_htp_path",
            "provider_options.soc_model": "57",
            "provider_options.htp_arch": "75",
        },
    ),
    Device("webgpu", backend=NAME, options={"provider": WEBGPU, "package": "onnxruntime_ep_webgpu"}),
)
"""Entries of the plugins that `pip install mosaic-onnx[qnn,webgpu]` installs.

The ``soc_model`` makes QNN's simulator compute floats in 16 bits, as the real NPU does.
"""


def _built_in(name: str, provider: str, precision: str = "f32", own_memory: str = "", **options: str) -> Device:
    """Return the entry of a provider that another build of ONNX Runtime has built in."""
    memory = {"own_memory": own_memory} if own_memory else {}
    given = {f"provider_options.{key}": value for key, value in options.items()}
    return Device(name, backend=NAME, precision=precision, options={"provider": provider, **memory, **given})


BUILT_IN_DEVICES: tuple[Device, ...] = (
    _built_in("cuda", CUDA, own_memory="cuda", use_tf32="0"),
    _built_in("tensorrt", TENSORRT, own_memory="cuda", trt_fp16_enable="0"),
    _built_in("tensorrt-f16", TENSORRT, "f16", own_memory="cuda", trt_fp16_enable="1"),
    _built_in("dml", "DmlExecutionProvider"),
    _built_in("coreml", "CoreMLExecutionProvider", "f16", ModelFormat="MLProgram", MLComputeUnits="ALL"),
    _built_in("rocm", "ROCMExecutionProvider"),
    _built_in("migraphx", "MIGraphXExecutionProvider", migraphx_fp16_enable="0"),
    _built_in("migraphx-f16", "MIGraphXExecutionProvider", "f16", migraphx_fp16_enable="1"),
    _built_in("vitisai", "VitisAIExecutionProvider", "bf16"),
    _built_in("cann", "CANNExecutionProvider", "f16"),
    _built_in("xnnpack", "XnnpackExecutionProvider"),
)
"""Entries of providers that other ONNX Runtime packages (`onnxruntime-gpu`, `onnxruntime-directml`, …) have built in.

TF32 is off: f32 means f32. Core ML may run on Apple's neural engine, which computes in f16; VitisAI compiles models of
f32 to bf16. Only CUDA has been run on its hardware so far; each of them is tried before it is called a device.
"""
WITH_EXTRAS = tuple(device for device in BUILT_IN_DEVICES if device.name == "cuda")
"""Built-in devices that are told as absent, with how to install them, where their provider is not built in."""
EXTRAS: Mapping[str, str] = {"onnxruntime_qnn": "qnn", "onnxruntime_ep_webgpu": "webgpu"}
"""{plugin's Python package: the extra of this package that installs it}."""
