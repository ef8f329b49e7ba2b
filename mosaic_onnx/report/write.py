"""Write the page; the plotting library is asked for only here."""

from __future__ import annotations

from pathlib import Path

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.report.content import ReportContent


def need_library() -> None:
    """Raise before any long work where the plotting library is not installed.

    Raises:
        UsageError: naming the extra that brings it.
    """
    try:
        import bokeh  # noqa: F401 (asked for only to know whether it is here)
    except ImportError as error:
        raise UsageError(
            "the page is drawn with Bokeh, which is not installed", "pip install 'mosaic-onnx[report]'"
        ) from error


def write_page(content: ReportContent, path: Path) -> None:
    """Write the page atomically.

    Raises:
        UsageError: Bokeh is not installed, or the file cannot be written.
    """
    need_library()
    from mosaic_onnx.report.page import page_of

    write_atomically(path, page_of(content).encode())
