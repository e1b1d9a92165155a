"""The panel fits its terminal, and where there is none a line comes every few seconds."""

import io
from typing import Any

import pytest
from rich.console import Console

from stream_coupons.core.rules import PolicyRules
from stream_coupons_lab.demo.panel import Flow, ShopperPanel
from stream_coupons_lab.demo.ticker import Ticker
from stream_coupons_lab.demo.waiting import Waiting
from stream_coupons_lab.demo.watch import Counts, Watch

NO_SYSTEM: Any = None
LATEST = {
    ("stream_coupons_decisions_total", (("outcome", "given"),)): 12.0,
    ("stream_coupons_budget_remaining_minor", (("domain", "shop"),)): 50_000.0,
    ("stream_coupons_model_roc_auc_ratio", (("domain", "shop"), ("head", "redeem"))): 0.71,
}


def panel(width: int, height: int, *, is_terminal: bool = True) -> tuple[ShopperPanel, Console]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=is_terminal)
    watch = Watch(NO_SYSTEM, counts=Counts(published=1234, issues=56, redeemed=7), latest=LATEST)
    ticker = Ticker([], PolicyRules())
    ticker.lines.extend(f"u{number} looked at {'coffee ' * 20}: nothing: would buy anyway" for number in range(50))
    shown = ShopperPanel(console, watch, ticker)
    shown.margins = [float(number**2) for number in range(200)]
    shown.budget_minor, shown.share, shown.status = 100_000, 0.5, "day  7.0 of 14"
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
    with shown:
        shown.show()
        shown.show()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("\n") == 1
    assert "1,234 events, 56 coupons, 7 redeemed, expected margin 396.01" in text


def test_rates_are_those_of_the_last_seconds() -> None:
    flow = Flow()
    assert flow.rates() == []
    for second in range(20):
        flow.note(float(second), (0.0 if second < 10 else 5.0 * (second - 10), 7.0))
    assert flow.rates() == [5.0, 0.0]


def test_whoever_waits_hears_of_it() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with Waiting(console, "starting", line_every_s=0.01) as waiting:
        while console.file.getvalue().count("\n") < 3:  # type: ignore[attr-defined]
            waiting._is_over.wait(0.005)
    assert console.file.getvalue().startswith("starting ...\nstarting ... 0 s\n")  # type: ignore[attr-defined]
