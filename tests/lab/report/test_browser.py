"""The pages in headless Chromium, where it and Playwright are installed; Playwright's own browsers are not needed."""

import os
import re
import shutil

import pytest
from synthetic_entries import RESULT

from fcnjax.lab import report as pages

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the PATH")]
DESKTOP, PHONE = 1280, 390  # CSS pixels


@pytest.fixture(scope="module")
def browser():
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to run as root with it
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    entries = [pages.entry_of({**RESULT, "title": f"Experiment {i}", "page": "report.html"}) for i in range(4)]
    return {
        "report": pages.write_html(report, folder / "report.html"),
        "index": pages.write_index_html(entries, folder / "index.html"),
    }


@pytest.fixture(params=["report", "index"])
def opened(request, browser, files):
    """A function that opens a page at a width and in a color scheme, and fails for anything on the console."""
    contexts, said = [], []

    def open_page(width, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: said.extend([asked.url] * (not asked.url.startswith(("file:", "data:")))))
        page.goto(files[request.param].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def luminance(color: str) -> float:
    """Returns the relative luminance of a CSS color such as `rgb(20, 23, 27)`, in [0, 1]."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_pages_show_every_picture_and_never_scroll_sideways(opened, width):
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = page.evaluate(
        """[...document.images].map(image => {
             const box = image.getBoundingClientRect();
             return [image.complete && image.naturalWidth > 0, box.width > 200 && box.height > 100, box.right];
           })"""
    )
    assert all(loaded and large and right <= width for loaded, large, right in images)
    boxes = page.evaluate("[...document.querySelectorAll('.scroll')].map(box => box.getBoundingClientRect().right)")
    assert all(right <= width for right in boxes)


@pytest.mark.parametrize("opened", ["report"], indirect=True)
def test_a_phone_gets_plots_of_its_own_and_tables_that_scroll_in_their_box(opened):
    desktop, phone = opened(DESKTOP), opened(PHONE)
    shape = "[...document.querySelectorAll('img.chart')].map(image => image.naturalHeight / image.naturalWidth)"
    assert len(phone.evaluate(shape)) == 4
    assert min(phone.evaluate(shape)) > max(desktop.evaluate(shape))
    hidden = "[...document.querySelectorAll('.scroll')].map(box => box.scrollWidth - box.clientWidth)"
    assert max(phone.evaluate(hidden)) > 50
    assert max(desktop.evaluate(hidden)) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark_mode(opened, scheme):
    page = opened(DESKTOP, scheme)
    page_color = "getComputedStyle(document.body).backgroundColor"
    assert (luminance(page.evaluate(page_color)) < 0.05) == (scheme == "dark")
    pairs = page.evaluate(
        """[...document.querySelectorAll('h1, h2, h3, p, a, li > span, td, th, .badge, figcaption')].map(element => {
             let behind = element;
             while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
             return [element.textContent, getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
           })"""
    )
    assert len(pairs) > 10
    for text, front, back in pairs:
        dark, bright = sorted((luminance(front), luminance(back)))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, f"{text!r}: {front} on {back}"
