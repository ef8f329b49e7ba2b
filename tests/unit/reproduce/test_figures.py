"""The plots of the reproduction: the paper's numbers beside ours, whole layers, letters that can be read."""

from __future__ import annotations

import pytest

from mosaic_onnx.reproduce import paper
from mosaic_onnx.reproduce.figures import FONT_POINTS, layers_figure, reductions_figure

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra report)")


@pytest.fixture(autouse=True)
def _draw_without_a_screen() -> None:
    matplotlib.use("Agg")


def test_the_layers_axis_has_whole_numbers() -> None:
    figure = layers_figure(energy=False)
    figure.canvas.draw()
    for axis in figure.axes:
        assert all(tick == round(tick) for tick in axis.get_xticks())
    matplotlib.pyplot.close(figure)


def test_the_papers_reductions_stand_beside_ours() -> None:
    ours = (70.0, 85.0, 40.0, 30.0)
    with matplotlib.rc_context({"font.size": FONT_POINTS}):
        figure = reductions_figure({"latency, large models": (tuple(paper.LATENCY_LARGE), ours)})
        figure.canvas.draw()
    (axis,) = figure.axes
    assert [[bar.get_height() for bar in bars] for bars in axis.containers] == [[70.3, 86.1, 39.1, 29.2], list(ours)]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["the paper's", "ours, simulated"]
    assert min(text.get_fontsize() for text in axis.texts) >= 10
    matplotlib.pyplot.close(figure)
