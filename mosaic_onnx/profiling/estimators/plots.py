"""Plots of fitted lines. Needs matplotlib (extra ``report``)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.profiling.estimators.communication import fit_line


def draw_fits(points: Mapping[str, Sequence[tuple[float, float]]], path: Path, title: str) -> Path:
    """Draw measured transfers with their lines (Equations 1 and 2), and the relative residuals below.

    Args:
        points: by device or direction, (bytes, seconds).
        path: the image to write.
        title: title of the figure.

    Raises:
        ImportError: matplotlib is not installed.
        ModelError: a line has fewer than two points.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    for name, measured in points.items():
        fit = fit_line(measured)
        sizes, seconds = np.array(measured, dtype=np.float64).T
        (dots,) = above.plot(sizes, 1e3 * seconds, ".", label=f"{name}: R² {fit.r_squared:.4f}")
        smooth = np.geomspace(sizes.min(), sizes.max(), 100)
        above.plot(smooth, 1e3 * (fit.seconds_per_byte * smooth + fit.seconds), color=dots.get_color())
        below.plot(*np.array(fit.residuals).T * np.array([[1.0], [100.0]]), ".", color=dots.get_color())
    above.set(title=title, ylabel="ms", xscale="log", yscale="log")
    above.legend()
    below.set(xlabel="bytes", ylabel="predicted over measured − 1, %")
    return save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> Path:
    """Write a plot whole or not at all, the same bytes for the same figure, and close it.

    Raises:
        UsageError: the file cannot be written.
    """
    from matplotlib import pyplot

    content = io.BytesIO()
    figure.savefig(content, dpi=110, format=path.suffix.removeprefix("."), metadata={"Software": None})
    pyplot.close(figure)
    write_atomically(path, content.getvalue())
    return path
