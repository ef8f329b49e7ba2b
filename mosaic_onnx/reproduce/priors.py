"""The start of the calibration: round numbers from the board's peak rates, by the same rule for every device.

* dense convolution and fully connected: a third of the peak;
* depthwise: on CPU clusters one core of four at that rate (TensorFlow Lite of 2018 ran depthwise convolutions on one
  thread), on the GPU a tenth of it; the NPU computes it dense;
* weights: a third of the memory's peak;
* an operator costs 0.2 ms to start, half of that inside the NPU's compiled slices;
* copies: 2 GB/s and 0.5 ms for the GPU, 0.5 GB/s and 1 ms for the NPU (the NPU's cost more in Figure 7).

These are assumptions of the order of magnitude. Several sets were tried with knowledge of the paper's other numbers
before this one was kept, so figures that the fit leaves to them are not blind predictions; the range over seeds shows
their influence.
"""

from __future__ import annotations

from mosaic_onnx.reproduce.rates import Powers, Rates

_SHARE_OF_PEAK = 1 / 3
_BIG_PEAK_GMAC_S = 4 * 4 * 2.362
"""Four A73 cores, four f32 multiply-accumulates a cycle, 2.362 GHz."""
_GPU_PEAK_GMAC_S = 244.8 / 2
"""Mali-G72 MP12: 244.8 GFLOPS."""
_NPU_PEAK_GMAC_S = 1920 / 2
"""1.92 TFLOPS in half precision."""
_MEMORY_PEAK_GB_S = 29.9
"""LPDDR4X-3732, 64 bit."""


def _dense(peak_gmac_s: float) -> float:
    """Return the ms/GMAC at the assumed share of a peak rate."""
    return 1e3 / (peak_gmac_s * _SHARE_OF_PEAK)


def _classes(dense: float, depthwise: float) -> tuple[float, ...]:
    """Return ms/GMAC by class: 1×1, k×k, depthwise 3, depthwise 5, fully connected."""
    return (dense, dense, depthwise, depthwise, dense)


_WEIGHT = 1 / (_MEMORY_PEAK_GB_S * _SHARE_OF_PEAK)
"""ms/MB."""

RATES = Rates(
    big=_classes(_dense(_BIG_PEAK_GMAC_S), 4 * _dense(_BIG_PEAK_GMAC_S)),
    big_weight=_WEIGHT,
    big_operator=0.2,
    little_ratio=2.5,
    gpu=_classes(_dense(_GPU_PEAK_GMAC_S), 10 * _dense(_GPU_PEAK_GMAC_S)),
    gpu_weight=_WEIGHT,
    gpu_operator=0.2,
    npu=_classes(_dense(_NPU_PEAK_GMAC_S), _dense(_NPU_PEAK_GMAC_S)),
    npu_weight=_WEIGHT,
    npu_operator=0.1,
    gpu_copy=0.5,
    gpu_copy_start=0.5,
    npu_copy=2.0,
    npu_copy_start=1.0,
)

POWERS = Powers(
    big=4.0, little=1.0, gpu=3.0, npu=1.5, big_static=0.1, little_static=0.1, gpu_static=1.0, npu_static=0.2
)
"""Watts; "power ratio A73 : A53 about 4" (Wang et al.). The GPU's static share includes the CPU that waits for it."""
