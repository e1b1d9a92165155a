"""`campaigns`: publish campaigns, list what they have spent, take them out, pause them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from stream_coupons.cli import catalog_entries, terminal
from stream_coupons.cli.catalog_entries import published
from stream_coupons.cli.entry_verbs import Words, add_verbs
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_with_topics
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, unissuable
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # imported where it is used: no help needs it
    from stream_coupons.ops.campaign_states import CampaignState

app = typer.Typer(help="Publish campaigns, list what they have spent, take them out, pause them.", no_args_is_help=True)


def _compare(campaigns: Sequence[Campaign], settings: Settings | None) -> list[str]:
    pushed = {campaign.campaign_id: campaign for campaign in campaigns}
    coupons = () if settings is None else published(settings, COUPONS).entries.values()
    return unissuable((coupon for coupon in coupons if coupon.campaign_id in pushed), pushed)


add_verbs(
    app,
    CAMPAIGNS,
    _compare,
    Words(
        group="campaigns",
        id_of_one="spring",
        push="""A campaign replaces
the one with the same campaign_id and keeps what was spent. Coupons name
it as their campaign_id: see `catalog push`.""",
        remove="Take campaigns out: from now on none of their coupons are issued.",
        pause="Stop issuing the coupons of campaigns until they are resumed; those that\nwere issued stay good.",
        resume="Issue the coupons of paused campaigns again.",
    ),
)


@app.command("list")
def show(
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """List campaigns: their coupons, times and budgets, and what is spent.

    held is money for coupons that shoppers may still use. due is the share
    of the budget that should be spent by now, by the campaign's budget_curve.
    price is the value that each cent of expected cost must bring: 0 while
    there is money for all coupons that are worth it. What redemptions took
    off is seen here within some seconds.

    Examples: stream-coupons campaigns list
              stream-coupons campaigns list --json
    """
    from stream_coupons.ops.campaign_states import read_accounts, states_of

    settings = settings_with_topics(config, bootstrap)
    campaigns, coupons = published(settings, CAMPAIGNS), published(settings, COUPONS).entries.values()
    catalog_entries.warn_of_unreadable(campaigns, CAMPAIGNS)
    for warning in unissuable(coupons, campaigns.entries):
        terminal.warn(warning)
    found = states_of(campaigns.entries.values(), coupons, read_accounts(settings.kafka), time.time())
    if json:
        terminal.print_json(found, indent=2)
        return
    terminal.stdout().print(_table(found))
    terminal.say(f"{len(found)} campaigns; money in minor units (cents)")


def _table(states: Iterable[CampaignState]) -> Table:
    """Return a table that fits 80 columns: only the first one is folded."""
    figures = ("budget", "spent", "held", "used", "due", "price")
    table = terminal.new_table("campaign", "time", figures=figures, no_wrap=True, box=box.SIMPLE, padding=(0, 1, 1, 0))
    table.columns[0].overflow = "fold"
    table.columns[1].no_wrap = True
    for one in states:
        campaign = one.campaign
        about = (campaign.campaign_id, campaign.title, f"{len(one.coupons)} coupon{'s' * (len(one.coupons) != 1)}")
        time_of = (*catalog_entries.span(campaign.starts_at, campaign.ends_at), one.state)
        table.add_row(
            Text("\n".join(terminal.printable(line) for line in about if line)),
            "\n".join(time_of),
            "no limit" if campaign.budget_minor is None else str(campaign.budget_minor),
            str(one.spent_minor),
            str(one.held_minor),
            _percent(one.share_used),
            _percent(one.share_due),
            f"{one.price:.2f}",
        )
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
