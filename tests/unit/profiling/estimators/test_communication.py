"""Equations 1 and 2: lines that cannot predict negative seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.profiling.estimators.communication import fit_line, fit_pieces
from mosaic_onnx.profiling.estimators.plots import draw_fits

SIZES = [4**power for power in range(1, 13)]


def noisy(alpha: float, beta: float, samples: int, seed: int, noise: float = 0.02) -> list[tuple[float, float]]:
    stream = np.random.default_rng(seed)
    return [
        (size, (alpha * size + beta) * (1 + noise * stream.standard_normal())) for size in SIZES for _ in range(samples)
    ]


@pytest.mark.parametrize(("alpha", "beta"), [(4.8e-10, 4.4e-4), (2.3e-9, 1.2e-3), (1e-10, 5e-6)])
def test_coefficients_come_back_within_two_per_cent_from_a_thousand_noisy_samples(alpha: float, beta: float) -> None:
    fit = fit_line(noisy(alpha, beta, 1000, seed=7))
    assert fit.seconds_per_byte == pytest.approx(alpha, rel=0.02)
    assert fit.seconds == pytest.approx(beta, rel=0.02)
    assert fit.r_squared > 0.99
    assert np.mean([abs(residual) for _, residual in fit.residuals]) == pytest.approx(
        0.02 * np.sqrt(2 / np.pi), rel=0.05
    )


def test_where_plain_least_squares_predicts_negative_seconds_this_does_not() -> None:
    points = [(size, 2e-6 + 1e-10 * size + 4e-17 * size**2) for size in SIZES]
    sizes, seconds = np.array(points).T
    _, start = np.polyfit(sizes, seconds, 1)
    assert start < 0
    fit = fit_line(points)
    assert all(fit.predict(size) > 0 for size in SIZES)
    assert fit.seconds == pytest.approx(2e-6, rel=0.3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**8), st.floats(1e-7, 10.0)), min_size=2, max_size=30))
def test_no_points_lead_to_a_negative_coefficient(points: list[tuple[int, float]]) -> None:
    fit = fit_line(points)
    assert fit.seconds_per_byte >= 0
    assert fit.seconds >= 0
    assert len(fit.residuals) == len(points)


def test_residuals_say_where_the_line_is_off() -> None:
    fit = fit_line([(1, 1.0), (2, 2.0), (4, 8.0)])
    worst = max(fit.residuals, key=lambda item: abs(item[1]))
    assert fit.worst_error == pytest.approx(abs(worst[1]))
    assert fit.predict(worst[0]) == pytest.approx((1 + worst[1]) * {1: 1.0, 2: 2.0, 4: 8.0}[int(worst[0])])


def test_two_pieces_follow_a_memory_whose_speed_changes() -> None:
    def law(size: float) -> float:
        return 1e-6 + 1e-10 * size if size <= 65536 else 1e-5 + 1e-9 * size

    points = [(size, law(size)) for size in SIZES]
    fit = fit_pieces(points)
    assert fit.limits_bytes == (65536.0,)
    assert all(fit.predict(size) == pytest.approx(law(size), rel=1e-6) for size in SIZES)


def test_one_piece_is_kept_where_two_are_no_better_or_points_are_few() -> None:
    assert len(fit_pieces([(1, 1.0), (2, 1.5), (4, 2.5)]).pieces) == 1


@pytest.mark.parametrize("points", [[], [(10, 1.0)], [(10, 0.0), (20, 1.0)]])
def test_too_few_points_are_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ModelError, match="two measured points"):
        fit_line(points)


def test_a_fit_is_drawn_with_its_residuals(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = draw_fits({"gpu": noisy(1e-9, 1e-4, 3, seed=1)}, tmp_path / "fit.png", "copies")
    assert path.read_bytes().startswith(b"\x89PNG")
