"""The first coupons of a new shop are for what shoppers turned to, and most triggers lead to none."""

from pathlib import Path

import pytest

from benchmarks.cold_start import COUPONS, DECISIONS, PAGE, SHIPPED, cells, figures_of_file
from benchmarks.pages import markdown_row


@pytest.mark.long
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_first_coupons_are_for_what_shoppers_turned_to(path: Path) -> None:
    figures = figures_of_file(path)
    assert figures.coupons == COUPONS
    assert figures.in_category_ratio >= 0.6
    assert figures.triggers_ratio <= 0.5
    assert figures.in_category + figures.elsewhere + figures.not_worth_it + figures.holdout == DECISIONS
    assert 0 <= figures.drawn_elsewhere <= figures.elsewhere
    assert figures.value_minor > 2.0
    assert markdown_row(cells(figures)) in PAGE.read_text(), "python -m benchmarks.cold_start --write"
