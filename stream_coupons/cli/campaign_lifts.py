"""Lift of campaigns with a holdout of their own, as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.reports import read_reports
from stream_coupons.core.currencies import money
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.validation_hints import near

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.models.metrics import Interval
    from stream_coupons.ops.campaign_lift import CampaignLift
    from stream_coupons.settings import Settings

FIGURES = ("treated", "holdout", "expected", "lift a shopper", "lift of all treated", "predicted")
LEGEND = (
    "lift: mean margin of the shoppers who may get the campaign's coupons less that of its holdout, from the first one "
    "that may be given, adjusted for orders before. The interval holds the effect at all looks together with 95 %"
)


def interval(found: Interval, write: Callable[..., str]) -> Text:
    """Return a difference and its interval; bold where 0 is outside."""
    style = "bold" if found.low > 0 or found.high < 0 else ""
    value, low, high = (write(each, sign="+") for each in (found.value, found.low, found.high))
    return Text.assemble((value, style), " (", "too early" if math.isnan(found.low) else f"{low} to {high}", ")")


def show_campaign_lift(campaign_id: str, settings: Settings, *, as_json: bool) -> bool:
    """Print the lift of a campaign, by domain; return True if the arms can be compared.

    Raises
    ------
    BadConfig
    """
    from stream_coupons.kafka import topics
    from stream_coupons.ops.campaign_lift import campaign_lifts

    [latest] = read_reports(settings.kafka, topics.LIFT_TOTALS)
    every = campaign_lifts(latest, settings.shop)
    found = [one for one in every if one.campaign_id == campaign_id]
    if not found:
        hint = near(campaign_id, {one.campaign_id for one in every}) or (
            ": it has no shoppers yet, or no holdout; set its holdout_ratio before it begins, and publish it with "
            "`stream-coupons campaigns push`"
        )
        raise BadConfig(f"no lift of campaign {campaign_id!r}{hint}")
    terminal.show(found, _print, as_json=as_json)
    return not any(one.is_mismatch for one in found)


def _print(found: Sequence[CampaignLift]) -> None:
    from stream_coupons.ops.campaign_lift import verdict

    for one in found:
        if one.is_mismatch:
            terminal.warn(
                f"sample ratio mismatch in campaign {one.campaign_id}: {one.holdout:,} of "
                f"{one.treated + one.holdout:,} shoppers are in its holdout, expected {one.expected_share:.2%}. The "
                "arms cannot be compared: was its holdout_ratio or the secret changed?"
            )
    terminal.print_table(("campaign", "domain", "verdict"), [(*_row(one, verdict(one)),) for one in found], FIGURES)
    terminal.say(LEGEND)


def _row(one: CampaignLift, verdict: str) -> tuple[str | Text, ...]:
    write = partial(money, currency=one.currency)
    expected = "" if one.expected_share is None else f"{one.expected_share:.1%}"
    counts = f"{one.treated:,}", f"{one.holdout:,}", expected
    lifts = interval(one.lift, partial(write, more=1)), interval(one.total, write)
    return one.campaign_id, one.domain, verdict, *counts, *lifts, write(one.predicted_minor, sign="+")
