"""The state of the demonstration: a line in place on a terminal, elsewhere one every few seconds."""

import io

from rich.console import Console

from stream_coupons_lab.demo.progress import DemoProgress
from stream_coupons_lab.demo.waiting import waiting
from stream_coupons_lab.simulation.shoppers import WorldStatistics

LINE = "50%  day  7.0 of 14: 1,234 events, 56 coupons, 7 redeemed, expected margin 396.01"


def shown(*, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=120, height=24, force_terminal=is_terminal)
    progress = DemoProgress(console, WorldStatistics(issues=56, redemptions=7))
    progress.events, progress.margin_minor = 1234, 39_601.0
    progress.share, progress.status = 0.5, "day  7.0 of 14"
    with progress, waiting(console, "starting"):
        progress.show()
        progress.show()
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_without_a_terminal_it_prints_plain_lines() -> None:
    text = shown(is_terminal=False)
    assert text.startswith("starting ...\n")
    assert text.count("\n") == 2
    assert LINE in text


def test_a_terminal_shows_the_same_line() -> None:
    assert LINE in shown(is_terminal=True)
