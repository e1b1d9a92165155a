"""The built site in a real browser, opened as a file: search finds a page, and the home page fits a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.browser import CHROMIUM, COMPLETE, Browser

from .pages import DOCS, ROOT
from .test_site import build

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]

SEARCH = "Array.from(document.body.children, each => each.shadowRoot).find(Boolean)"
"""The search dialog, which is drawn within the one shadow root of the page."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    assert build(folder).returncode == 0
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("begin", ["index.html", "reference/settings.html"])
def test_a_search_from_a_file_finds_the_page_and_opens_it(site: Path, browser: Browser, begin: str) -> None:
    browser.open(site / begin, is_drawn=f"location.pathname.endsWith('{begin}') && {COMPLETE}")
    browser.evaluate("document.querySelector('.md-search__button').click()")
    browser.until(f"{SEARCH}.activeElement?.matches('input')")
    browser.evaluate("document.execCommand('insertText', false, 'overspend')")  # as typed
    found = f"{SEARCH}.querySelector('a[href*=\"explanation/budgets.html\"]')"
    browser.until(found)
    assert [address for address in browser.requests if not address.startswith(("file:", "data:"))] == []
    title = "document.querySelector('h1')?.textContent"
    browser.open(browser.evaluate(f"{found}.href"), is_drawn=f"{title}?.startsWith('Budgets with a price')")


def test_the_home_page_fits_a_phone(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html", width=360, is_drawn=f"location.pathname.endsWith('/index.html') && {COMPLETE}")
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    picture = "document.querySelector('article svg[role=img]')"
    sizes = f"Array.from({picture}.querySelectorAll('text'), each => parseFloat(getComputedStyle(each).fontSize))"
    scale = f"{picture}.getBoundingClientRect().width / {picture}.viewBox.baseVal.width"
    assert min(browser.evaluate(sizes)) * browser.evaluate(scale) >= 10
