"""`campaigns`: publish campaigns, list what they have spent, take them out, pause them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import typer
from msgspec import Struct
from rich import box
from rich.table import Table
from rich.text import Text

from stream_coupons.cli import catalog_entries, terminal
from stream_coupons.cli.catalog_entries import checked_settings, published
from stream_coupons.cli.catalog_file import CAMPAIGNS, COUPONS, unissuable
from stream_coupons.cli.entry_verbs import Words, add_verbs
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.money.accounts import Accounts, campaign_of
from stream_coupons.kafka import topics
from stream_coupons.settings import Settings

if TYPE_CHECKING:  # imported where it is used: no help needs it
    from stream_coupons.core.money.leases import Account

app = typer.Typer(help="Publish campaigns, list what they have spent, take them out, pause them.", no_args_is_help=True)


class UnreadableAccount(StreamCouponsError):
    """A record of the accounts' changelog that holds no account."""


class CampaignState(Struct, frozen=True, kw_only=True):
    """A campaign and what it has spent; `--json` prints it. Money is in minor units.

    Attributes
    ----------
    campaign : Campaign
        As `campaigns push` reads it.
    coupons : list of str
        Ids of the coupons that name it.
    state : str
        `running`, `paused`, `not begun` or `over`.
    spent_minor, held_minor : int
        Taken off by redemptions, less what was returned; held for open coupons.
    expected_minor : float
        Expected cost of all open coupons.
    share_used, share_due : float or None
        Share of the budget that is spent, and that should be spent by now by its curve. None: no budget, or no curve.
    price : float
        Value that a minor unit of expected cost must bring.
    """

    campaign: Campaign
    coupons: list[str]
    state: str
    spent_minor: int
    held_minor: int
    expected_minor: float
    share_used: float | None
    share_due: float | None
    price: float


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
    settings = checked_settings(config, bootstrap)
    campaigns, coupons = published(settings, CAMPAIGNS), published(settings, COUPONS).entries.values()
    catalog_entries.warn_of_unreadable(campaigns, CAMPAIGNS)
    for warning in unissuable(coupons, campaigns.entries):
        terminal.warn(warning)
    found = states_of(campaigns.entries.values(), coupons, _accounts(settings), time.time())
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    terminal.stdout().print(_table(found))
    terminal.stdout().print(f"{len(found)} campaigns; money in minor units (cents)", markup=False)


def states_of(
    campaigns: Iterable[Campaign], coupons: Iterable[Coupon], accounts: Mapping[str, Account], at: float
) -> list[CampaignState]:
    """Return what each campaign has spent.

    Parameters
    ----------
    accounts : mapping
        States at their owner, by account id; one that was never drawn on is not there.
    at : float
        UTC epoch seconds.
    """
    from stream_coupons.core.money import leases

    every, members = list(campaigns), list(coupons)
    limits = Accounts(members, every)
    of_campaign = defaultdict(list)
    for coupon in members:
        of_campaign[coupon.campaign_id].append(coupon.coupon_id)
    found = []
    for campaign in every:
        limit = limits.limit(campaign_of(campaign.campaign_id))
        account = accounts.get(limit.account_id) or leases.Account()
        due = leases.share_due(account, limit, at)
        found.append(
            CampaignState(
                campaign=campaign,
                coupons=of_campaign[campaign.campaign_id],
                state=_state(campaign, at),
                spent_minor=account.spent,
                held_minor=account.held,
                expected_minor=round(sum(holding.expected.at(at) for holding in account.holdings.values()), 2),
                share_used=round(account.spent / limit.most, 4) if limit.most else None,
                share_due=None if due is None else round(due, 4),
                price=round(account.price.value, 4),
            )
        )
    return found


def _state(campaign: Campaign, at: float) -> str:
    if at >= campaign.ends_at:
        return "over"
    if campaign.paused:
        return "paused"
    return "not begun" if at < campaign.starts_at else "running"


def _accounts(settings: Settings) -> dict[str, Account]:
    """Return the accounts of all campaigns as their owners saved them last, by account id."""
    from stream_coupons.core.money.leases import Account
    from stream_coupons.kafka.clients import Reader
    from stream_coupons.runtime.cells import CellCodec

    codec, changelog = CellCodec(Account), topics.changelog("accounts").name
    found: dict[str, Account] = {}
    with Reader(settings.kafka, [changelog], from_beginning=True) as reader:
        for record in reader.read_to_end():
            key = (record.key or b"").decode(errors="replace")
            if not key.startswith(campaign_of("")):
                continue
            found.pop(key, None)
            if record.value is None:
                continue
            try:
                found[key] = codec.decode(record.value).state
            except msgspec.DecodeError as error:
                place = f"{changelog}, partition {record.partition}, offset {record.offset}"
                raise UnreadableAccount(f"{place}: is no state of {key}: {error}") from None
    return found


def _table(states: Iterable[CampaignState]) -> Table:
    """Return a table that fits 80 columns: only the first one is folded."""
    table = Table("campaign", "time", box=box.SIMPLE, padding=(0, 1, 1, 0))
    table.columns[0].overflow = "fold"
    table.columns[1].no_wrap = True
    for name in ("budget", "spent", "held", "used", "due", "price"):
        table.add_column(name, justify="right", no_wrap=True)
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
