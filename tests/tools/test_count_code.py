"""tools/count_code.py, on small sources."""

from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import ROOT, script

SOURCE = '''"""A module."""

import os  # a comment is no line

# nor is this

LIMIT = 3
"""Docstring of
an attribute."""


class Row:
    """A row."""

    def text(self) -> str:
        """Return text."""
        return """one

        three"""
'''


@pytest.fixture(scope="module")
def count() -> ModuleType:
    return script("count_code", ROOT / "tools")


def test_comments_docstrings_and_blank_lines_are_no_code(count: ModuleType) -> None:
    assert count.size_of(SOURCE) == (7, 19)  # import, LIMIT, class, def, and the three lines of a string


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("stream_coupons/settings.py", "stream_coupons"),
        ("stream_coupons/core/money/price.py", "stream_coupons/core"),
        ("packages/stream-coupons-lab/stream_coupons_lab/frames.py", "packages/stream-coupons-lab/stream_coupons_lab"),
        (
            "packages/stream-coupons-lab/stream_coupons_lab/ope/own/a.py",
            "packages/stream-coupons-lab/stream_coupons_lab/ope",
        ),
    ],
)
def test_a_room_is_a_folder(count: ModuleType, path: str, room: str) -> None:
    assert count.room_of(path) == room


def test_a_budget_that_is_exceeded_is_named_with_the_excess(count: ModuleType) -> None:
    files = {"a/x.py": count.Size(60, 90), "a/lab/y.py": count.Size(50, 50), "ab/z.py": count.Size(7, 7)}
    budgets = {"all": {"paths": ["a", "ab"], "code_lines": 116}, "a": {"paths": ["a"], "without": ["a/lab"]}}
    budgets["a"]["code_lines"] = 60
    [line] = count.findings(files, budgets)
    assert line.startswith("all: 117 code lines in a, ab, expected at most 116: remove 1 lines")
    budgets["all"]["code_lines"] = 117
    assert list(count.findings(files, budgets)) == []


def test_a_file_without_a_budget_is_named(count: ModuleType) -> None:
    [line] = count.findings(
        {"a/x.py": count.Size(1, 1), "b.py": count.Size(1, 1)}, {"a": {"paths": ["a"], "code_lines": 9}}
    )
    assert line.startswith("b.py: no budget")


def test_the_table_sums_a_room(count: ModuleType) -> None:
    files = {"a/b/c/x.py": count.Size(60, 1090), "a/b/y.py": count.Size(50, 50)}
    assert [line.split() for line in count.table(files)] == [
        ["room", "code", "lines", "files"],
        ["a/b", "110", "1,140", "2"],
        ["all", "110", "1,140", "2"],
    ]


def test_imports_of_modules_are_followed_and_those_within_functions_only_if_asked(
    count: ModuleType, tmp_path: Path
) -> None:
    sources = {
        "a/__init__.py": "",
        "a/start.py": "from a.b import one\nif TYPE_CHECKING:\n    from a import typed\n",
        "a/b/__init__.py": "",
        "a/b/one.py": "from a.two import name\nfrom a import start\n",
        "a/two.py": "def f() -> None:\n    from a.later import g\n    g()\n",
        "a/later.py": "",
        "a/typed.py": "",
        "a/apart.py": "",
    }
    for path, source in sources.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source, encoding="utf-8")
    at_once = {"a/__init__.py", "a/start.py", "a/b/__init__.py", "a/b/one.py", "a/two.py"}
    assert count.imported(tmp_path, ["a/start.py"]) == at_once
    assert count.imported(tmp_path, ["a/start.py"], by_functions=True) == at_once | {"a/later.py"}
