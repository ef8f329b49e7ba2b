"""The page in a real browser: no script errors, nothing asked of the network, no overflow, a panel that answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.report.contents import content

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("bokeh", reason="bokeh is not installed (extra report)")
pytest.importorskip("playwright", reason="playwright is not installed (extra dev)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (apt-get install chromium)")
WIDTHS = (1400, 400)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mosaic_onnx.report.write import write_page

    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(content(), path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """The page in a window, and what went wrong in it."""

    def __init__(self, browser: Browser, file: Path, width: int, scheme: str = "light") -> None:
        self.wrong: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("request", self._asked)
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-drawn=yes]", timeout=20_000)

    def _asked(self, request: object) -> None:
        address = str(request.url)  # type: ignore[attr-defined]
        if not address.startswith(("file:", "data:", "blob:")):
            self.wrong.append(f"asked for {address}")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_draws_without_errors_and_without_the_network_and_fits(
    browser: Browser, page_file: Path, width: int
) -> None:
    opened = Opened(browser, page_file, width)
    assert opened.wrong == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.locator(".bk-Figure").count() == 6
    shot = opened.page.screenshot(full_page=True)
    assert shot.startswith(b"\x89PNG")
    assert opened.page.inner_text("#headline").startswith("1.24 × faster than ONNX Runtime's default")


def test_choosing_a_layer_says_why_it_is_there(browser: Browser, page_file: Path) -> None:
    opened = Opened(browser, page_file, 1400)
    opened.page.evaluate("""() => {
        for (const root of Bokeh.documents[0].roots()) for (const model of root.references())
            if (model.type === "GlyphRenderer" && model.name === "layers") model.data_source.selected.indices = [4];
    }""")
    said = opened.page.inner_text("#why")
    assert "head" in said
    assert "Resize is not supported" in said
    assert opened.wrong == []


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 22, 26)")])
def test_the_page_follows_the_readers_colours(browser: Browser, page_file: Path, scheme: str, ground: str) -> None:
    opened = Opened(browser, page_file, 800, scheme)
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    ink = opened.page.evaluate("""() => {
        for (const root of Bokeh.documents[0].roots()) for (const model of root.references())
            if (model.type === "LinearAxis") return model.major_label_text_color;
    }""")
    assert (
        str(ink.get("value", ink) if isinstance(ink, dict) else ink).lower()
        == {"light": "#1c1e21", "dark": "#e8eaee"}[scheme]
    )
