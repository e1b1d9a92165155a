"""Campaigns with what they have spent, by the accounts that their owners saved last."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec
from msgspec import Struct

from stream_coupons.core.catalogue.campaign_states import ISSUING
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.money.accounts import Accounts, campaign_of
from stream_coupons.core.money.holdings import Account
from stream_coupons.core.money.leases import is_spent, share_due
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.catalogue_diff import shared_currency
from stream_coupons.runtime.cells import CellCodec


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
    currency : str or None
        Currency that these share, by their domains.
    state : str
        The campaign's own, or `over` after its end. Of one that may issue coupons also `not begun`, or `spent` if what
        is left pays for none of its coupons any more.
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
    currency: str | None = None
    state: str
    spent_minor: int
    held_minor: int
    expected_minor: float
    share_used: float | None
    share_due: float | None
    price: float


def states_of(
    campaigns: Iterable[Campaign],
    coupons: Iterable[Coupon],
    accounts: Mapping[str, Account],
    at: float,
    currencies: Mapping[str, str] = MappingProxyType({}),
) -> list[CampaignState]:
    """Return what each campaign has spent.

    Parameters
    ----------
    accounts : mapping
        States at their owner, by account id; one that was never drawn on is not there.
    at : float
        UTC epoch seconds.
    currencies : mapping
        ISO 4217 codes by domain.
    """
    every, members = list(campaigns), list(coupons)
    limits = Accounts(members, every)
    of_campaign = defaultdict[str | None, list[Coupon]](list)
    for coupon in members:
        of_campaign[coupon.campaign_id].append(coupon)
    found = []
    for campaign in every:
        limit = limits.limit(campaign_of(campaign.campaign_id))
        account = accounts.get(limit.account_id) or Account()
        due, state = share_due(account, limit, at), _state(campaign, at)
        named = of_campaign[campaign.campaign_id]
        found.append(
            CampaignState(
                campaign=campaign,
                coupons=[coupon.coupon_id for coupon in named],
                currency=shared_currency(named, currencies),
                state="spent" if state in ISSUING and is_spent(account, limit) else state,
                spent_minor=account.sums.spent,
                held_minor=account.sums.held,
                expected_minor=round(account.sums.expected.at(at), 2),
                share_used=round(account.sums.spent / limit.most, 4) if limit.most else None,
                share_due=None if due is None else round(due, 4),
                price=round(account.price.value, 4),
            )
        )
    return found


def _state(campaign: Campaign, at: float) -> str:
    if at >= campaign.ends_at and campaign.state not in ("ended", "archived"):
        return "over"
    if campaign.state not in ISSUING:
        return campaign.state
    return "not begun" if at < campaign.starts_at else campaign.state


def read_accounts(kafka: KafkaSettings) -> dict[str, Account]:
    """Return the accounts of all campaigns as their owners saved them last, by account id.

    Raises
    ------
    UnreadableAccount
    """
    codec, changelog = CellCodec(Account), topics.changelog("accounts").name
    found: dict[str, Account] = {}
    with Reader(kafka, [changelog], from_beginning=True) as reader:
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
