"""The page on tests of an integration: its blocks are tests, and they pass."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from stream_coupons import testing

from .pages import first_column, page

PAGE = "docs/how-to/test-your-integration.md"
BLOCKS = re.findall(r"<!-- testing -->\n```python\n(.*?)```", page(PAGE), re.DOTALL)


def defined(source: str) -> list[Any]:
    """Return the tests that a block defines."""
    names: dict[str, Any] = {}
    exec(compile(source, PAGE, "exec"), names)
    return [pytest.param(value, id=name) for name, value in names.items() if name.startswith("test_")]


TESTS = [each for source in BLOCKS for each in defined(source)]


@pytest.mark.parametrize("run", TESTS)
def test_a_test_of_the_page_passes(run: Callable[[], None]) -> None:
    run()


def test_every_block_is_run_and_has_a_test() -> None:
    assert len(BLOCKS) == page(PAGE).count("```") / 2
    assert all("\ndef test_" in source for source in BLOCKS)


def test_the_page_names_every_builder() -> None:
    named = {name for cell in first_column(PAGE, "| Builder | Message |") for name in re.split(r"`?, `?", cell)}
    builders = {name for name in testing.__all__ if name.islower()} - {"item", "plain_settings"}
    assert named == builders
