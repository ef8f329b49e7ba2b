"""What is known of execution providers beforehand: their device entries, what they lack, how they must be treated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mosaic_onnx.backends.onnxruntime.claims import QNN_CLAIMS, WEBGPU_CLAIMS, Claim
from mosaic_onnx.core.devices import Device

NAME = "onnxruntime"
QNN = "QNNExecutionProvider"
WEBGPU = "WebGpuExecutionProvider"
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class ProviderFacts:
    """One provider.

    Attributes:
        rewritten: operators that it lacks or gets wrong and that ``legalise`` can write otherwise.
        claims: by operator, why a node of it must not be given to the provider.
        keeps_first_options: the process keeps the provider options of its first session, whatever later ones say.
        takes_turns: two threads must not use it at once, whatever sessions they use.
        narrows_integers: it holds 64-bit integers in 32 bits, and saturates sums and products.
        crashes_at_empty: it takes the process with it where a tensor holds no elements.
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
    """Return what is known of a provider; nothing special of one that is not listed."""
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
"""Entries of the plugins that `pip install mosaic-onnx[qnn,webgpu]` brings: all that they need to be devices.

The ``soc_model`` makes QNN's simulator compute floats in 16 bits, as the real NPU does.
"""
BUILT_IN_DEVICES: tuple[Device, ...] = (
    Device("cuda", backend=NAME, options={"provider": CUDA, "own_memory": "cuda", "provider_options.use_tf32": "0"}),
)
"""Entries of providers that another ONNX Runtime package (`onnxruntime-gpu`) has built in.

TF32 is off: f32 means f32.
"""
EXTRAS: Mapping[str, str] = {"onnxruntime_qnn": "qnn", "onnxruntime_ep_webgpu": "webgpu"}
"""Which extra of this package brings each plugin's Python package."""
