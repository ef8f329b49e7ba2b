"""The communication microbenchmark, on a backend that only runs whole slices."""

from __future__ import annotations

import numpy as np
import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.profiling.estimators.microbenchmark import (
    Sample,
    fit_communication,
    making_model,
    measure_communication,
    reading_model,
)
from mosaic_onnx.profiling.measuring.timing import Budget


def test_both_directions_come_back_from_noisy_runs() -> None:
    stream = np.random.default_rng(5)
    samples = [
        Sample(size if reads else 4, 4 if reads else size, 0.0)
        for size in (4**power for power in range(4, 12))
        for reads in (True, False)
        for _ in range(1000)
    ]
    timed = [
        Sample(s.input_bytes, s.output_bytes, (2e-9 * s.input_bytes + 5e-9 * s.output_bytes + 1e-3) * noise)
        for s, noise in zip(samples, 1 + 0.02 * stream.standard_normal(len(samples)), strict=True)
    ]
    fit = fit_communication(timed)
    assert fit.received.seconds_per_byte == pytest.approx(2e-9, rel=0.02)
    assert fit.sent.seconds_per_byte == pytest.approx(5e-9, rel=0.02)
    assert fit.received.seconds + fit.sent.seconds == pytest.approx(1e-3, rel=0.02)
    assert fit.mean_error < 0.02
    assert fit.received.r_squared > 0.99


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(ModelError, match="three samples"):
        fit_communication([Sample(4, 4, 1.0)])


def test_the_models_read_and_make_what_they_say() -> None:
    from mosaic_onnx.backends.onnxruntime.backend import BACKEND

    device = Device("cpu", backend="onnxruntime", options={"threads": 1})
    reading = BACKEND.load(reading_model(64), device).run({"x": np.arange(64, dtype=np.float32)[None]})["y"]
    making = BACKEND.load(making_model(64), device).run({"x": np.full((1, 1), 3, np.float32)})["y"]
    assert reading.tolist() == [[63.0]]
    assert (making == 3).all()
    assert making.shape == (1, 64)


def test_it_runs_on_a_real_backend() -> None:
    from mosaic_onnx.backends.onnxruntime.backend import BACKEND

    device = Device("cpu", backend="onnxruntime", options={"threads": 1})
    samples = measure_communication(BACKEND, device, Budget(0.002, 2, 20), (64, 4096, 65536))
    assert [(s.input_bytes, s.output_bytes) for s in samples[:2]] == [(256, 4), (4, 256)]
    assert all(sample.seconds > 0 for sample in samples)
    fit = fit_communication(samples)
    assert fit.received.seconds_per_byte >= 0
    assert fit.sent.seconds >= 0
