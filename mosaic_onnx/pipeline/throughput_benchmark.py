"""Requests a second of a bundle at rising load, beside the prediction and what users could run instead."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.process.cpu_cores import parse_cores, usable_cores
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.files.manifest import SLICES
from mosaic_onnx.pipeline.load_session import SessionOptions, load_session, load_whole
from mosaic_onnx.pipeline.open_bundle import bind_bundle
from mosaic_onnx.runtime.request_rates import RateAtLoad, rate_at_load, rising_loads

ONE_SESSION = "one session on {device}"
HINT = "OpenVINO's throughput hint"


@dataclass(frozen=True)
class ThroughputBenchmark:
    """The measured throughputs.

    Attributes:
        predicted_per_second: 1 / the plan's interval.
        rates: of the bundle, at rising load.
        others: requests a second of what could run instead, by name.
        missing: why others were not measured, by name.
    """

    predicted_per_second: float
    rates: tuple[RateAtLoad, ...]
    others: Mapping[str, float]
    missing: Mapping[str, str]

    @property
    def best(self) -> RateAtLoad:
        """The highest rate."""
        return max(self.rates, key=lambda one: one.requests_per_second)

    def as_fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "predicted_per_second": self.predicted_per_second,
            "measured_per_second": self.best.requests_per_second,
            "loads": [
                {
                    "outstanding": one.outstanding_count,
                    "requests": one.request_count,
                    "requests_per_second": one.requests_per_second,
                    "latency_s": {f"p{percent}": one.latency_percentile_s(percent) for percent in (50, 99)},
                }
                for one in self.rates
            ],
            "others_per_second": dict(self.others),
            "not_measured": dict(self.missing),
        }


def throughput_benchmark(bundle: Bundle, inputs: Mapping[str, Array], seconds: float) -> ThroughputBenchmark:
    """Measure a bundle and what could run in its place, one after the other.

    Args:
        bundle: what to run; one set of shapes.
        inputs: of every request.
        seconds: how long each figure is measured.

    Raises:
        UsageError: a device of the bundle is not here.
        BackendError: a device failed.
    """
    bundle = bind_bundle(bundle)
    with load_session(bundle) as session:
        rate_at_load(session, inputs, session.in_flight_limit, seconds / 4)  # warm
        rates = tuple(rate_at_load(session, inputs, count, seconds) for count in rising_loads(session.in_flight_limit))
    whole = SliceModel(bundle.original(), str(bundle.folder / SLICES), bundle.inputs, bundle.outputs)
    others: dict[str, float] = {}
    missing: dict[str, str] = {}
    used = {device_of(one.state) for one in bundle.plan.slices}
    for device in (one for one in bundle.devices if one.name in used):
        name = ONE_SESSION.format(device=device.name)
        try:
            others[name] = _one_session(whole, device, bundle, inputs, seconds)
        except BackendError as error:
            missing[name] = error.message
    try:
        others[HINT] = _hint(whole, [one for one in bundle.devices if one.name in used], inputs, seconds)
    except BackendError as error:
        missing[HINT] = error.message
    interval_s = bundle.plan.predicted.interval_seconds
    return ThroughputBenchmark(1 / interval_s if interval_s else float("inf"), rates, others, missing)


def _one_session(
    whole: SliceModel, device: Device, bundle: Bundle, inputs: Mapping[str, Array], seconds: float
) -> float:
    """Requests a second of the whole model on one device, one after the other."""
    options = SessionOptions(in_flight=1)
    with load_whole(whole, device, bundle.input_specs, bundle.output_specs, options) as session:
        return rate_at_load(session, inputs, 2, seconds).requests_per_second


def _hint(whole: SliceModel, devices: Sequence[Device], inputs: Mapping[str, Array], seconds: float) -> float:
    """Requests a second of OpenVINO with its throughput hint, on as many cores as the devices have."""
    if importlib.util.find_spec("openvino") is None:
        raise BackendError("openvino is not installed", "pip install 'mosaic-onnx[openvino]'")
    from mosaic_onnx.backends.openvino.throughput_hint import throughput_hint_rate

    cores: set[int] = set()
    for device in devices:
        named = device.options.get("cores")
        cores |= set(usable_cores() if named is None else parse_cores(str(named)))
    return throughput_hint_rate(whole, inputs, len(cores), seconds)
