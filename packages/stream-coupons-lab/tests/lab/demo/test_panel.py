"""The panel fits its terminal, and where there is none a line comes every few seconds."""

import io
from typing import Any

import pytest
from rich.console import Console

from stream_coupons_lab.demo.panel import ShopperPanel
from stream_coupons_lab.demo.ticker import Ticker
from stream_coupons_lab.demo.waiting import waiting
from stream_coupons_lab.demo.watch import Watch
from stream_coupons_lab.simulation.shoppers import WorldStatistics

NO_SYSTEM: Any = None
LATEST = {
    ("stream_coupons_decisions_total", (("outcome", "given"),)): 12.0,
    ("stream_coupons_budget_remaining_minor", (("domain", "shop"),)): 50_000.0,
    ("stream_coupons_model_roc_auc_ratio", (("domain", "shop"), ("head", "redeem"))): 0.71,
}


def panel(width: int, height: int, *, is_terminal: bool = True) -> tuple[ShopperPanel, Console]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=is_terminal)
    watch = Watch(NO_SYSTEM, latest=LATEST, samples=[(0.0, LATEST)])
    ticker = Ticker([])
    ticker.lines.extend(f"u{number} looked at {'coffee ' * 20}: nothing: would buy anyway" for number in range(50))
    shown = ShopperPanel(console, watch, ticker, WorldStatistics(issues=56, redemptions=7), 100_000)
    shown.events = 1234
    shown.margins = [float(number**2) for number in range(200)]
    shown.share, shown.status = 0.5, "day  7.0 of 14"
    return shown, console


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60), (60, 20)])
def test_the_panel_fits(width: int, height: int) -> None:
    shown, console = panel(width, height)
    lines = console.render_lines(shown.render(), console.options)
    assert len(lines) <= height
    text = "".join(segment.text for line in lines for segment in line)
    for part in (
        "1,234 events",
        "12 decisions",
        "396.01",
        "7 of 56",
        "0.710 ROC AUC",
        "500.00 of 1,000",
        "day  7.0 of 14",
    ):
        assert part in text


def test_without_a_terminal_it_prints_plain_lines() -> None:
    shown, console = panel(80, 24, is_terminal=False)
    with shown, waiting(console, "starting"):
        shown.show()
        shown.show()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.startswith("starting ...\n")
    assert text.count("\n") == 2
    assert "1,234 events, 56 coupons, 7 redeemed, expected margin 396.01 EUR" in text
