"""`campaigns`: publish campaigns, list what they have spent, and lead them through their life."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box

from stream_coupons.cli import campaign_life, terminal
from stream_coupons.cli.catalog_entries import span
from stream_coupons.cli.entry_verbs import EntryGroup, app_of
from stream_coupons.core.currencies import money
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.plurals import counted
from stream_coupons.core.rules import ShopRules
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, unissuable
from stream_coupons.ops.published import Published, published
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # imported where it is used: no help needs it
    from stream_coupons.ops.campaign_states import CampaignState


def _listed(campaigns: Published[Campaign], settings: Settings) -> list[CampaignState]:
    from stream_coupons.ops.campaign_states import read_accounts, states_of

    coupons = published(settings, COUPONS).entries.values()
    for warning in unissuable(coupons, campaigns.entries):
        terminal.warn(warning)
    accounts, currencies = read_accounts(settings.kafka), settings.shop.currencies
    return states_of(campaigns.entries.values(), coupons, accounts, time.time(), currencies)


def _show(states: Sequence[CampaignState], _: ShopRules) -> None:
    """Print a table that fits 80 columns without breaking a figure."""
    figures = ("budget", "spent", "held", "used", "due", "price")
    style = {"no_wrap": True, "box": box.SIMPLE, "padding": (0, 1, 1, 0)}
    terminal.print_table(("campaign", "time"), map(_row, states), figures, **style)


def _row(one: CampaignState) -> list[str]:
    campaign = one.campaign
    holdout = f"{campaign.holdout_ratio:.0%} held out" if campaign.holdout_ratio else ""
    about = (campaign.campaign_id, campaign.title, counted(len(one.coupons), "coupon"), holdout)
    return [
        "\n".join(terminal.printable(line) for line in about if line),
        "\n".join((*span(campaign.starts_at, campaign.ends_at), one.state)),
        "no limit" if campaign.budget_minor is None else money(campaign.budget_minor, one.currency),
        money(one.spent_minor, one.currency),
        money(one.held_minor, one.currency),
        *("" if share is None else f"{share:.1%}" for share in (one.share_used, one.share_due)),
        f"{one.price:.2f}",
    ]


app = app_of(
    EntryGroup(
        name="campaigns",
        kind=CAMPAIGNS,
        about_list="""List campaigns: their coupons, times and budgets, and what is spent.

held is money for coupons that shoppers may still use. due is the share
of the budget that should be spent by now, by the campaign's budget_curve.
price is the value that each cent of expected cost must bring: 0 while
there is money for all coupons that are worth it. Redemptions count here
within some seconds.""",
        listed=_listed,
        show=_show,
    )
)
campaign_life.add_to(app)
