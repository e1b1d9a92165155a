"""Decision messages: issues for shoppers, and decisions for the record."""

from typing import Literal

from msgspec import Struct, field

from stream_coupons.core.currencies import Currency
from stream_coupons.core.messages.fields import (
    NO_COUPON,
    SCHEMA_VERSION,
    Amount,
    Code,
    Count,
    Domain,
    EpochSeconds,
    Id,
    Label,
    Ratio,
)
from stream_coupons.core.messages.terms import Terms


class Reason(Struct, frozen=True, array_like=True):
    """One contribution to a score: the feature, its value, its addition to the log-odds."""

    feature: str
    """Name of the feature."""
    value: float
    """Its value."""
    contribution: float
    """Addition to the log-odds of a redemption."""


class CouponIssue(Terms, frozen=True, kw_only=True, omit_defaults=True):
    """THE OUTPUT: give this shopper this coupon. Deduplicate on `issue_id`."""

    issue_id: Id
    """Identifies the issue: copies have the same id and the same bytes."""
    user_id: Id
    """The shopper who gets the coupon: the record's key."""
    coupon_id: Id
    """The coupon of the catalogue."""
    domain: str
    """Domain of the coupon."""
    issued_at: EpochSeconds
    """Time of the trigger; it may be as old as `policy.trigger_timeout_s`."""
    expires_at: EpochSeconds
    """Time until which it can be used: `issued_at` plus the coupon's `redeem_within_s`."""
    trigger_id: Id
    """The `event_id` that led to it."""
    schema_version: int = SCHEMA_VERSION
    """Version of the message. Stop at a greater one: any field may have another meaning."""
    title: Label = ""
    """Title of the coupon."""
    scope_in_catalogue: bool = False
    """True if the scope is too long for a message: then it is that of the coupon in the catalogue."""
    currency: Currency | None = None
    """Currency of its money: that of the domain by `shop.currencies`."""
    p_click: Ratio
    """Predicted probability of a click."""
    p_redeem: Ratio
    """Predicted probability that the coupon is used in its window."""
    p_order: Ratio
    """Predicted probability of an order in its scope without a coupon."""
    value_minor: float
    """Expected gain over giving none, in minor units of money."""
    price_minor: float = 0.0
    """Price of its expected cost by its budgets, in minor units; below its value unless it was explored."""
    campaign_id: Id | None = None
    """The coupon's campaign."""
    code: Code | None = None
    """The code that the shopper shows at a till, if the coupon has codes."""
    held_minor: Amount
    """Money held for it. Less than `max_discount_minor` falls evenly to nothing while it can be used."""
    propensity: Ratio
    """Probability of giving this coupon, sold-out coupons left out."""
    is_explored: bool = False
    """True if it was drawn by chance, whatever its value."""
    model_version: Count
    """Version of the model snapshot that scored it."""
    reasons: list[Reason] = field(default_factory=list)
    """The features with the largest effect, strongest first: `policy.explain_top` of them."""


DecisionResult = Literal["given", "not_worth_it", "control", "holdout", "lift_below_zero"]


class StagedCoupon(Struct, frozen=True, array_like=True):
    """A coupon of a staged campaign that a decision would have given."""

    coupon_id: Id
    """The coupon."""
    value_minor: float
    """Expected gain over giving none, in minor units of money."""


class LoggedDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision on a trigger, whatever its result: the arms and the probability of each.

    Without exploration the arm `best` is given: of the arms that are worth it and of the highest priority among these,
    the one with the greatest value less price. Exploration draws one of
    `tried` uniformly. So arm i is given with probability `exploration_ratio / len(tried)` if it is among the tried, and
    `1 - exploration_ratio` more if it is the best one. No arm is given with probability `1 - exploration_ratio` if none
    is worth it. Sold-out coupons are no arms. Deduplicate on `decision_id`.

    If a policy from another package decides, `shares` has the probabilities in place of these.
    """

    decision_id: Id
    """Identifies the decision; its coupon-issue, if there is one, has the same id."""
    user_id: Id
    """The shopper: the record's key."""
    domain: Domain
    """Domain of the arms."""
    at: EpochSeconds
    """Time of the trigger."""
    trigger_id: Id
    """The `event_id` that led to it."""
    result: DecisionResult
    """Result: a coupon (`given`), or the reason why none was given."""
    model_version: Count
    """Version of the model that scored the arms."""
    coupon_id: Id = NO_COUPON
    """The coupon given, or `none`."""
    propensity: Ratio | None = None
    """Probability of the result, if it is known: of the coupon given, or of giving none because nothing was worth
    it."""
    arms: list[Id]
    """The coupons that could be given."""
    values_minor: list[float]
    """Expected gain of each arm over giving none, in minor units of money."""
    prices_minor: list[float] = []
    """Price of each arm's expected cost by the budgets that it draws on, in minor units; empty: 0 for all."""
    priorities: list[int] = []
    """Priority of each arm; empty: the same for all."""
    best: Count | None = None
    """Index of the arm that is given without exploration; absent: no arm was worth it."""
    tried: list[Count] = []
    """Indices of the arms that exploration draws from; empty: all of them."""
    exploration_ratio: Ratio = 0.0
    """Probability of exploration."""
    control_ratio: Ratio = 0.0
    """Probability that chance withholds the arm that was chosen: the probabilities above hold for the choice."""
    shares: list[Ratio] = []
    """Probability of each arm, and last of none, if a policy from another package decides; else empty."""
    drawn: Count | None = None
    """Index of the arm that exploration drew, if it did."""
    sold_out: list[Id] = []
    """The coupons that were eligible, but had no stock or money left."""
    is_holdout: bool = False
    """True if the shopper belongs to the permanent control group."""
    logged_ratio: Ratio = 1.0
    """Share of all decisions that are recorded: `policy.decisions_logged_ratio`."""
    staged: StagedCoupon | None = None
    """The coupon of a staged campaign that would have been given if the campaign was running: worth more than `best`.
    Absent where exploration or holdout decided."""


class DecisionAnswer(Struct, frozen=True):
    """The result of an event whose record asked for an answer by its header `answer`."""

    decision_id: Id
    """Identifies the decision; its coupon-issue, if there is one, has the same id."""
    user_id: Id
    """The shopper: the record's key."""
    trigger_id: Id
    """The `event_id`."""
    at: EpochSeconds
    """Time of the event."""
    result: Label
    """`given`, or a reason why none was given. Or `duplicate`: the event was processed before. Or `no_trigger`: no
    decision is made on this kind of event. Or `erasure`: the shopper asked later to be forgotten."""
