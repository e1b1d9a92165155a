"""Builders of messages and settings: complete, with plain defaults and ids that depend on their content only.

Keyword arguments are fields of the message, documented there. Nothing is validated here: the pipeline validates what it
reads, as a worker does, and refuses the rest as dead letters.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from msgspec.structs import replace

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import (
    MONEY_KINDS,
    BrowseEvent,
    CartEvent,
    Envelope,
    ErasureRequest,
    FeedbackEvent,
    Item,
    ObservedIssue,
    OrderEvent,
)
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka.codec import encode
from stream_coupons.settings import Settings
from stream_coupons.testing.clock import START

if TYPE_CHECKING:  # a stub without a module, written by tools/builder_keywords.py
    from stream_coupons.testing import keywords

WINDOW_S = 7 * 86400.0
"""Time from issue to expiry of an observed issue where none is given, in seconds."""

PLAIN_POLICY: keywords.PolicyRulesFields = {
    "holdout_ratio": 0.0,
    "exploration_ratio": 0.0,
    "control_ratio": 0.0,
    "cooldown_s": 0.0,
    "max_issues_per_window": 1000,
    "min_value_minor": -1e9,
    "known_after": 0.0,
    "new_shopper_ratio": 1.0,
}
"""Policy without chance, cooldown, threshold, bound on new shoppers and, for practical purposes, frequency cap."""

E = TypeVar("E", bound=Envelope)


def plain_settings(**policy: Unpack[keywords.PolicyRulesFields]) -> Settings:
    """Make settings under which every eligible trigger leads to a coupon.

    There is no holdout, no exploration, nothing withheld, no cooldown, no minimum value, and shoppers need no history.

    Parameters
    ----------
    **policy
        Fields of `PolicyRules`, the settings of the section `policy`, that differ from that.

    Examples
    --------
    >>> plain_settings(cooldown_s=60.0).policy.cooldown_s
    60.0
    """
    return Settings(policy=PolicyRules(**(PLAIN_POLICY | policy)))


# ------------------------------------------------------------ catalogue


def coupon(coupon_id: str = "c1", **fields: Unpack[keywords.CouponFields]) -> Coupon:
    """Make a coupon of 1.00 off an order of about 20.00, for everything and without a limit.

    Parameters
    ----------
    coupon_id : str
        Id of the coupon.
    **fields
        Other fields of `Coupon`.

    Examples
    --------
    >>> coupon("tea-10", categories=["tea"], stock=3).max_discount_minor
    100
    """
    plain: dict[str, Any] = {"max_discount_minor": 100, "discount_minor": 100, "typical_price_minor": 2000}
    return Coupon(coupon_id=coupon_id, **{**plain, **fields})


def campaign(campaign_id: str = "k1", **fields: Unpack[keywords.CampaignFields]) -> Campaign:
    """Make a campaign without a limit.

    Parameters
    ----------
    campaign_id : str
        Id of the campaign, which its coupons name.
    **fields
        Other fields of `Campaign`.

    Examples
    --------
    >>> campaign("spring", budget_minor=5000).campaign_id
    'spring'
    """
    return Campaign(campaign_id=campaign_id, **fields)


# ------------------------------------------------------------ events of upstream services


def item(item_id: str = "A", **fields: Unpack[keywords.ItemFields]) -> Item:
    """Make an item with an id and nothing else.

    Parameters
    ----------
    item_id : str
        Id of the item.
    **fields
        Other fields of `Item`.

    Examples
    --------
    >>> item("tea-0815", category="tea", price_minor=449).category
    'tea'
    """
    return Item(item_id=item_id, **fields)


def browse(
    user_id: str, item: Item | None = None, *, at: float = START, **fields: Unpack[keywords.BrowseEventFields]
) -> BrowseEvent:
    """Make an event of a shopper who looks at an item, or at the shop as a whole.

    Parameters
    ----------
    user_id : str
        The shopper.
    item : Item, optional
        The item that was browsed.
    at : float
        `occurred_at`, UTC epoch seconds.
    **fields
        Other fields of the message. Without an `event_id` it is derived from the rest: the same event has the same id,
        so the second one counts as a duplicate.

    Examples
    --------
    >>> browse("ann", item("tea-0815", category="tea"), event_id="b1").event_id
    'b1'
    >>> browse("ann", at=START + 60) == browse("ann", at=START + 60) != browse("ann", at=START + 61)
    True
    """
    return _event(BrowseEvent, user_id, at, fields, item=item)


def cart(user_id: str, item: Item, *, at: float = START, **fields: Unpack[keywords.CartEventFields]) -> CartEvent:
    """Make an event of a shopper who puts an item into the cart; parameters as of `browse`.

    Examples
    --------
    >>> cart("ann", item("tea-0815"), action="remove").action
    'remove'
    """
    return _event(CartEvent, user_id, at, fields, item=item)


def order(user_id: str, *items: Item, at: float = START, **fields: Unpack[keywords.OrderEventFields]) -> OrderEvent:
    """Make an event of a shopper who orders items.

    Parameters
    ----------
    user_id : str
        The shopper.
    *items : Item
        The items that were ordered.
    at : float
        `occurred_at`, UTC epoch seconds.
    **fields
        Other fields of `OrderEvent`. The `event_id` is derived as by `browse`, and is the `order_id` if none is given.

    Examples
    --------
    >>> [one.item_id for one in order("ann", item("tea-0815"), item("milk-1")).items]
    ['tea-0815', 'milk-1']
    """
    event = _event(OrderEvent, user_id, at, {"order_id": "", **fields}, items=list(items))
    return event if event.order_id else replace(event, order_id=event.event_id)


def feedback(
    issue: CouponIssue | ObservedIssue,
    kind: Literal["impression", "click", "purchase", "refund", "cancel", "expiry"],
    *,
    at: float | None = None,
    **fields: Unpack[keywords.FeedbackEventFields],
) -> FeedbackEvent:
    """Make feedback of the shopper on an issue.

    Parameters
    ----------
    issue : CouponIssue or ObservedIssue
        The issue that the feedback refers to.
    kind : str
        The event, such as "click" or "purchase".
    at : float, optional
        `occurred_at`, UTC epoch seconds; by default the time of the issue.
    **fields
        Other fields of `FeedbackEvent`; the `event_id` is derived as by `browse`. A purchase, refund or cancellation
        is of one order per issue, unless an `order_id` is given.

    Examples
    --------
    >>> feedback(issue("ann", issue_id="i1"), "purchase", at=START + 60, discount_minor=45).issue_id
    'i1'
    """
    if at is None:
        at = issue.issued_at if isinstance(issue, CouponIssue) else issue.occurred_at
    own: dict[str, Any] = {"domain": issue.domain, **fields}
    if kind in MONEY_KINDS:
        own = {"order_id": f"order-{issue.issue_id}", **own}
    return _event(FeedbackEvent, issue.user_id, at, own, issue_id=issue.issue_id, kind=kind)


def observed(
    user_id: str, coupon_id: str = "c1", *, at: float = START, **fields: Unpack[keywords.ObservedIssueFields]
) -> ObservedIssue:
    """Make an event of a coupon that another system gave.

    Parameters
    ----------
    user_id : str
        The shopper.
    coupon_id : str
        The coupon, or "none".
    at : float
        `occurred_at`, UTC epoch seconds.
    **fields
        Other fields of `ObservedIssue`. The coupon expires after a week if no `expires_at` is given. The `event_id` is
        derived as by `browse`, and is the `issue_id` if none is given.

    Examples
    --------
    >>> observed("ann", "tea-10", propensity=0.5).expires_at - START
    604800.0
    """
    own: dict[str, Any] = {"issue_id": "", "expires_at": at + WINDOW_S, **fields}
    event = _event(ObservedIssue, user_id, at, own, coupon_id=coupon_id)
    return event if event.issue_id else replace(event, issue_id=event.event_id)


def erasure(user_id: str, *, at: float = START, **fields: Unpack[keywords.ErasureRequestFields]) -> ErasureRequest:
    """Make a request to forget a shopper; parameters as of `browse`.

    Examples
    --------
    >>> erasure("ann").user_id
    'ann'
    """
    return _event(ErasureRequest, user_id, at, fields)


def _event(message: type[E], user_id: str, at: float, fields: Any, **own: Any) -> E:
    """Make an event; its id, unless given, is a digest of the rest."""
    event = message(**{"event_id": "", "user_id": user_id, "occurred_at": at, **own, **fields})
    if event.event_id:
        return event
    return replace(event, event_id=f"event-{blake2b(encode(event), digest_size=8).hexdigest()}")


# ------------------------------------------------------------ messages that the system sends


def issue(
    user_id: str, terms: Coupon | None = None, *, at: float = START, **fields: Unpack[keywords.CouponIssueFields]
) -> CouponIssue:
    """Make an issue of a coupon, for tests of a consumer.

    Parameters
    ----------
    user_id : str
        The shopper.
    terms : Coupon, optional
        The coupon; by default that of `coupon()`.
    at : float
        `issued_at`, UTC epoch seconds.
    **fields
        Other fields of `CouponIssue`. The ids are derived from shopper, coupon and time.

    Examples
    --------
    >>> issue("ann", coupon("tea-10", title="1.00 off tea")).title
    '1.00 off tea'
    """
    terms = terms or coupon()
    plain: dict[str, Any] = {
        "issue_id": f"issue-{user_id}-{terms.coupon_id}-{at:.0f}",
        "domain": terms.domain,
        "expires_at": at + terms.redeem_within_s,
        "trigger_id": f"trigger-{user_id}-{at:.0f}",
        "title": terms.title,
        "discount_percent": terms.discount_percent,
        "discount_minor": terms.discount_minor,
        "max_discount_minor": terms.max_discount_minor,
        "campaign_id": terms.campaign_id,
        "held_minor": terms.max_discount_minor,
        "p_click": 0.1,
        "p_redeem": 0.1,
        "p_order": 0.1,
        "value_minor": 1.0,
        "propensity": 1.0,
        "model_version": 1,
    }
    return CouponIssue(user_id=user_id, coupon_id=terms.coupon_id, issued_at=at, **{**plain, **fields})
