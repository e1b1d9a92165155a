"""The pages of the documentation, and the examples on them."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADDRESS = '"127.0.0.1:9092"'


def _names(folder: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in folder.glob(pattern))


NOTEBOOK = _names(DOCS / "notebook", "*.md")
"""Dated records: what they name may be gone since."""

PAGES = [*_names(ROOT, "*.md"), *(name for name in _names(DOCS, "**/*.md") if name not in NOTEBOOK)]
"""Pages that are kept true: paths relative to the top folder."""


def page(name: str) -> str:
    """Return the text of a file, named relative to the top folder."""
    return (ROOT / name).read_text(encoding="utf-8")


def block(name: str) -> str:
    """Return the code block that follows the comment `example: name`, on whichever page it is."""
    pattern = re.compile(rf"<!-- example: {name} -->\n```\w*\n(.*?)```", re.DOTALL)
    [found] = [match[1] for other in PAGES for match in pattern.finditer(page(other))]
    return found


def example(name: str, bootstrap: str) -> str:
    """Return an example as it is on the page, but for the broker's address."""
    source = block(name)
    assert source.count(ADDRESS) == 1
    return source.replace(ADDRESS, json.dumps(bootstrap))


def table_below(name: str, header: str) -> list[list[str]]:
    """Return the cells of the table with this header, row by row."""
    lines = page(name).splitlines()
    rows: list[list[str]] = []
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def first_column(name: str, header: str) -> list[str]:
    """Return the first column of a table, without the marks of code."""
    return [row[0].strip("`") for row in table_below(name, header)]


def script(name: str, folder: Path = DOCS) -> ModuleType:
    """Return a program of docs/ or another folder as a module."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
