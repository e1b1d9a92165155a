"""The site of docs/ builds strictly, has every page in its navigation, and fetches nothing from elsewhere."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from .pages import DOCS, ROOT, page

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\ssrc="?(https?:[^">\s]+)|<link[^>]*\shref="?(https?:[^">\s]+)"""
)
BUILD_WITHIN_S = 60.0

pytestmark = pytest.mark.process


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy of docs/ as `make docs` does."""
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=BUILD_WITHIN_S)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    return tmp_path


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(copy: Path) -> None:
    result = build(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    pages = list((copy / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))  # and the page for what is not found
    assert {found for path in pages for found in LOADED.findall(path.read_text(encoding="utf-8"))} == set()
    copied = [path for path in DOCS.rglob("*.*") if (copy / "site" / path.relative_to(DOCS)).exists()]
    assert {path.suffix for path in copied} == {".js", ".png", ".svg", ".webp"}  # no programs, nor what they measured
    # Diagrams by Mermaid would be drawn by a script that the site loads from a CDN.
    assert not [path for path in pages if 'class="mermaid"' in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("link", ["nowhere.md", "index.md#no-such-heading"])
def test_a_dead_link_ends_the_build(copy: Path, link: str) -> None:
    with (copy / "docs" / "index.md").open("a", encoding="utf-8") as file:
        file.write(f"\n[dead]({link})\n")
    assert build(copy).returncode != 0


def in_navigation(entries: Any) -> list[str]:
    """Return the pages of a navigation, which nests."""
    if isinstance(entries, str):
        return [entries]
    return [
        name for entry in (entries.values() if isinstance(entries, dict) else entries) for name in in_navigation(entry)
    ]


def test_every_page_is_in_the_navigation_once() -> None:
    nav = in_navigation(tomllib.loads(page("zensical.toml"))["project"]["nav"])
    assert sorted(nav) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
