"""The messages of every topic, as types.

Each is a `msgspec.Struct`: the JSON on the wire, the validation and the JSON Schema in `schemas/`
all come from it.
Evolution is additive: new fields get a default, unknown fields are ignored, `schema_version` stays.
Anything may be missing from an event but its ids and its time.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

SCHEMA_VERSION = 1

Id = Annotated[str, Meta(min_length=1, max_length=200)]
LongId = Annotated[str, Meta(min_length=1, max_length=256)]
"""One made of others: of a trigger and the coupon that was not given for it, or of an issue and a head. The longest has
33 + 1 + 200 + 6 characters."""
Label = Annotated[str, Meta(max_length=200)]
Domain = Annotated[str, Meta(min_length=1, max_length=64)]
END_OF_TIME = 4_102_444_800.0
"""The start of the year 2100, UTC epoch seconds: no time is later."""
EpochSeconds = Annotated[float, Meta(ge=0, le=int(END_OF_TIME), description="UTC epoch seconds")]
MONEY = "money in minor units (cents), written as a whole number: 899, not 899.0"
Minor = Annotated[int, Meta(ge=-(2**53), le=2**53, description=MONEY)]
Amount = Annotated[int, Meta(ge=0, le=2**53, description=MONEY)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=500)]
"""A value that names one of several. It stands as it is in the reasons of issues: what is meant to be read has no
place there."""
Base64 = Annotated[
    bytes,
    Meta(extra_json_schema={"pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}),
]
Context = dict[Annotated[str, Meta(min_length=1, max_length=64)], Text | float | bool | None]
BudgetCurve = Literal["none", "even", "front_loaded", "by_traffic"]
"""How much of a budget should be spent by when; `none`: first come, first served."""
BudgetHold = Literal["quantile", "maximum"]
"""Money that an open coupon holds of its budgets: the most that it can cost, or its share of a quantile of all that is
open."""
MAX_ARMS = 100
MAX_SCOPE = 10_000
"""Pairs of a category and a brand that one coupon may name: they are written out, and a record of 46 kB could name nine
million."""
MAX_WEIGHT = 1e6
"""Of one entry of a sparse vector, and of a sum of such."""
MAX_WINDOW_S = 366 * 86400.0
"""How long a coupon can be used: for as long its issue is part of a shopper's state, and written with every event."""
MAX_NUMBERS = 4096
"""Most numbers in a coupon's vector."""
NO_COUPON = "none"
"""The arm that gives nothing: where an issue or an example has this for its coupon_id, no coupon was given."""


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing looked at, put in a cart or ordered."""

    item_id: Id
    """Identifies the item in the shop."""
    category: Label | None = None
    """Category of the item, by the names that coupons use."""
    brand: Label | None = None
    """Brand of the item, by the names that coupons use."""
    price_minor: Amount | None = None
    """Price of one unit."""
    quantity: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    """How many, or how much: fractions are allowed."""


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every input event carries; `event_id` makes it idempotent."""

    event_id: Id
    """Identifies the event: send the same id when you send it again."""
    user_id: Id
    """Identifies the shopper, and is the record's key. Send a pseudonym."""
    occurred_at: EpochSeconds
    """When it happened."""
    schema_version: int = SCHEMA_VERSION
    """Version of the message; another one is refused."""
    domain: Domain = "ecommerce"
    """Selects the coupons and the model: the `domain` of coupons in the catalogue."""


class BrowseEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper looked at an item."""

    item: Item | None = None
    """What was looked at; absent for a look at the shop as a whole."""
    context: Context = {}
    """Anything else known at that moment: channel, device, weather."""


class CartEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper put an item into the cart, or took it out."""

    item: Item
    """What was put in or taken out."""
    action: Literal["add", "remove"] = "add"
    """`add` or `remove`."""
    context: Context = {}
    """Anything else known at that moment."""


class OrderEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper ordered; `discount_minor` is what coupons, whoever gave them, took off.

    Only `event_id` is remembered: an order that is sent again with another one counts twice, whatever its `order_id`.
    """

    order_id: Id
    """Identifies the order in the shop."""
    items: Annotated[list[Item], Meta(max_length=1000)] = []
    """What was ordered."""
    total_minor: Amount | None = None
    """Value of the order. Decisions use the prices of its items."""
    discount_minor: Amount | None = None
    """What coupons took off, whoever gave them."""
    context: Context = {}
    """Anything else known at that moment."""


class FeedbackEvent(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """What a shopper did with a coupon that was issued to them.

    A purchase that is reported again with another amount corrects the earlier one. A coupon whose order was cancelled
    can be used again. `expiry` says that a coupon of another system can no longer be used; those of ours end by
    themselves.
    """

    issue_id: Id
    """The issue that it is about."""
    kind: Literal["impression", "click", "purchase", "refund", "cancel", "expiry"]
    """Event: coupon seen, clicked, used in an order; that order returned, in part or whole, or cancelled; coupon no
    longer usable."""
    coupon_id: Id | None = None
    """The coupon of the issue; refused if it is another one."""
    discount_minor: Amount | None = None
    """Discount that the coupon has taken off in all. Absent in a purchase: the issue's `max_discount_minor`; in a
    refund: nothing. The report with the latest `occurred_at` counts."""
    order_value_minor: Amount | None = None
    """Value of the order that the coupon was used in."""


class ObservedIssue(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon that another system gave: scored and learnt from, never issued again.

    The coupon_id `none` says that it gave nothing, and that a purchase by `expires_at` was made without a coupon.
    `arms` are the coupons that it chose among: if all are for the same, so is that purchase. An issue ends at most 366
    days after it was given.
    """

    issue_id: Id
    """Identifies the issue in the other system; feedback names it."""
    coupon_id: Id
    """A coupon of the catalogue, or `none`."""
    expires_at: EpochSeconds
    """Until when the coupon can be used."""
    propensity: Ratio | None = None
    """Probability with which the other system chose it."""
    arms: Annotated[list[Id], Meta(max_length=MAX_ARMS)] = []
    """The coupons that it chose among."""
    context: Context = {}
    """Anything else known at that moment."""


class ErasureRequest(Envelope, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper is to be forgotten, in all domains: events up to `occurred_at` say nothing of them any more.

    Coupons that are open stay good, and their money held, until their time is over.
    """


def window_fault(occurred_at: float, expires_at: float) -> str | None:
    """What is wrong with an issue that is open for longer than a coupon of ours can be; no schema can say that."""
    if expires_at <= occurred_at + MAX_WINDOW_S:
        return None
    days, most = (expires_at - occurred_at) / 86400, MAX_WINDOW_S / 86400
    return f"expires_at is {days:.1f} days after occurred_at, expected at most {most:.0f}"


class Tick(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The passing of time in one partition: closes windows, and has reports on leases sent."""

    at: EpochSeconds
    """The time that the partition has reached."""


class Coupon(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon of the catalogue: what it is for, what it gives, what it may cost.

    `attributes` are whatever else is known of it; `vector` is its content as a model of texts or images sees it,
    `description` a text to make one from. No coupon is called `none`: that is the arm that gives nothing. The number of
    categories times that of brands is at most 10,000.
    """

    coupon_id: Id
    """Identifies the coupon, and is the key of its record."""
    domain: Domain = "ecommerce"
    """The events that may lead to it, and the model that scores it."""
    campaign_id: Id | None = None
    """The campaign whose budget and time it shares; while the campaign is unknown, it is not issued."""
    title: Label = ""
    """Its name for people; repeated in its issues."""
    kind: Label = ""
    """Free label, such as `percent`."""
    categories: list[Label] = []
    """Categories that it may be used on; empty for any."""
    brands: list[Label] = []
    """Brands that it may be used on; empty for any."""
    items: list[Id] = []
    """Items that it may be used on; empty for any."""
    discount_percent: Annotated[float, Meta(gt=0, le=100)] | None = None
    """Percentage off; this or `discount_minor` is needed."""
    discount_minor: Amount | None = None
    """Amount off."""
    max_discount_minor: Annotated[int, Meta(gt=0, le=2**53, description="what one redemption can cost at most")]
    """The most that one redemption can cost. Where `budget_hold` is `maximum`, so much is held for each issue."""
    typical_price_minor: Amount | None = None
    """Typical order value within its scope; absent, `policy.typical_price_minor`."""
    margin_ratio: Ratio = 0.3
    """Margin on an order within its scope, before the discount."""
    valid_from: EpochSeconds = 0.0
    """From when it may be issued."""
    valid_until: EpochSeconds = END_OF_TIME
    """Until when it may be issued."""
    redeem_within_s: Annotated[float, Meta(gt=0, le=int(MAX_WINDOW_S))] = 7 * 86400.0
    """How long a shopper has to use it, in seconds; models learn when that is over."""
    stock: Count | None = None
    """The most that are ever issued; absent for no limit."""
    budget_minor: Amount | None = None
    """The most money held and spent on this coupon; unused coupons return theirs. Absent for no limit of its own."""
    budget_curve: BudgetCurve = "even"
    """Use of `stock` and `budget_minor` that is aimed at from `valid_from` to `valid_until`; without an end, none."""
    budget_hold: BudgetHold = "quantile"
    """Money that an open coupon holds: `maximum` never overspends, `quantile` does so rarely and a little."""
    max_per_user: Count | None = None
    """How often one shopper gets it; absent for no limit."""
    paused: bool = False
    """True: none are issued for now."""
    attributes: Context = {}
    """Whatever else is known of it; the first 12 names of a domain become features."""
    description: Annotated[str, Meta(max_length=10_000)] = ""
    """A text that `catalog embed` makes the vector from."""
    vector: Annotated[list[float], Meta(min_length=1, max_length=MAX_NUMBERS)] | None = None
    """Embedding of its content by any model of texts or images, the same for all coupons of a domain."""

    def __post_init__(self) -> None:
        if self.coupon_id == NO_COUPON:
            raise ValueError(f"coupon_id {NO_COUPON!r} stands for giving no coupon, expected another one")
        if len(self.categories) * len(self.brands) > MAX_SCOPE:
            named = f"{len(self.categories)} categories times {len(self.brands)} brands"
            raise ValueError(f"{named}, expected at most {MAX_SCOPE} pairs")
        if self.vector is not None:
            check_vector(self.vector)


def check_vector(vector: Sequence[float]) -> None:
    """Refuse what has no direction.

    Raises
    ------
    ValueError
        If it is empty, longer than `MAX_NUMBERS`, all zeros, or holds what is not a finite number.
    """
    if not 1 <= len(vector) <= MAX_NUMBERS:
        raise ValueError(f"vector has {len(vector)} numbers, expected 1 to {MAX_NUMBERS}")
    for place, number in enumerate(vector):
        if not math.isfinite(number):
            raise ValueError(f"vector[{place}] is {number}, expected a finite number")
    if not any(vector):
        raise ValueError("vector is all zeros, expected one number at least that is not")


class Campaign(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A budget and a time that several coupons share: those that name it as their `campaign_id`."""

    campaign_id: Id
    """Identifies the campaign, and is the key of its record."""
    title: Label = ""
    """Its name for people."""
    starts_at: EpochSeconds = 0.0
    """From when its coupons may be issued."""
    ends_at: EpochSeconds = END_OF_TIME
    """Until when its coupons may be issued."""
    budget_minor: Amount | None = None
    """The most money held and spent on all of its coupons; absent for no limit."""
    budget_curve: BudgetCurve = "even"
    """Spending that is aimed at between `starts_at` and `ends_at`; without an end, none."""
    budget_hold: BudgetHold = "quantile"
    """Money that an open coupon holds: `maximum` never overspends, `quantile` does so rarely and a little."""
    paused: bool = False
    """True: none of its coupons are issued for now."""


class UserVector(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper's interests as a sparse vector, for the owner of a cell; empty: the shopper moved away."""

    user_id: Id
    """The shopper."""
    cell: Id
    """The bucket of near shoppers that it is for: the record's key."""
    at: EpochSeconds
    """Time of the event that it was made after."""
    indices: list[int]
    """Hashed features; empty when the shopper has left the bucket."""
    weights: list[float]
    """The weight of each."""

    def __post_init__(self) -> None:
        _check_sparse(self.indices, self.weights)

    @property
    def has_left(self) -> bool:
        """Whether it says that the shopper moved away."""
        return not self.indices


def _check_sparse(indices: list[int], weights: list[float]) -> None:
    if len(indices) != len(weights):
        raise ValueError(f"{len(indices)} indices but {len(weights)} weights")
    # Both are kept in 32 bits, in which a weight may be infinite; damped ones are far below.
    if indices and not 0 <= min(indices) <= max(indices) < 2**32:
        raise ValueError(f"indices are {min(indices)} to {max(indices)}, expected 32 bits without a sign")
    if weights and not -MAX_WEIGHT <= min(weights) <= max(weights) <= MAX_WEIGHT:
        raise ValueError(f"weights are {min(weights)} to {max(weights)}, expected -1e6 to 1e6")


class Neighbour(Struct, frozen=True, array_like=True):
    """A near shopper and how near."""

    user_id: Id
    """The near shopper."""
    similarity: float
    """Cosine of both vectors."""


class NeighbourUpdate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper's nearest neighbours and the sum of their vectors, each times its similarity.

    R(u, i) = sum_j sim(u, j) c(j, i) is linear in j's vector, so the sum is all that scoring needs.
    """

    user_id: Id
    """The shopper: the record's key."""
    cell: Id
    """The bucket that found them."""
    at: EpochSeconds
    """Time of the vector that was compared."""
    neighbours: list[Neighbour]
    """The nearest shoppers, nearest first."""
    indices: list[int]
    """Hashed features of the weighted sum."""
    weights: list[float]
    """The weight of each."""

    def __post_init__(self) -> None:
        _check_sparse(self.indices, self.weights)


Price = Annotated[float, Meta(ge=0, le=1000)]
Risk = Annotated[float, Meta(ge=0, le=1e6)]
CostRatio = Annotated[float, Meta(ge=0, le=1000)]
Demand = Annotated[float, Meta(ge=0, le=1e15)]
Term = Annotated[float, Meta(ge=-1e60, le=1e60)]
Line = tuple[Term, Term]


class Lease(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a partition may draw of an account: a total that only grows. What of it is to be given back is said beside.

    An account is a limit: `units:` and a coupon's id is its stock, `money:` and a coupon's id its budget, `campaign:`
    and a campaign's id that of the campaign.
    """

    account_id: LongId
    """The account."""
    partition: Count
    """The partition of the shoppers' topics that it is for: the record's key, and its own partition."""
    at: EpochSeconds
    """Time of the report that it follows from."""
    version: Count
    """Grows with every lease of this account and partition: of two, the one with the greater counts."""
    granted: Count
    """All that was ever granted to the partition, in units or in minor units of money."""
    keep: Count | None = None
    """The most that may stay of what was not drawn; the rest is given back. Absent: all of it."""
    price: Price = 0.0
    """Price of the account: value that a minor unit of expected cost must bring. A unit of stock counts as the most
    that one redemption can cost."""
    risk: Risk | None = None
    """Standard deviations held for all open coupons of the account, over their standard deviation in minor units.
    Absent: not known, and each holds the most that it can cost."""
    cost_ratio: CostRatio = 1.0
    """Observed over expected cost of the account's coupons that are over, near 1 while these are few."""


class LeaseReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a partition did with its leases of an account, in totals that only grow; it may ask for more.

    What is available there is `granted - returned - drawn + freed`.
    """

    account_id: LongId
    """The account: the record's key."""
    partition: Count
    """The partition of the shoppers' topics."""
    at: EpochSeconds
    """Time of what led to it."""
    version: Count
    """Of the last lease that it has taken in."""
    granted: Count
    """By the last lease, or the first lease that needs no message."""
    returned: Count = 0
    """Given back."""
    drawn: Count = 0
    """Given (units), or held for what was given (money)."""
    freed: Count = 0
    """Drawn, and neither held nor spent any more."""
    spent: Count = 0
    """Drawn, and taken off by redemptions."""
    refunded: Count = 0
    """Spent, and taken back by later reports."""
    wanted: Count = 0
    """What decisions would have drawn, had it been available."""
    asks: bool = False
    """Whether more is wanted."""
    expected: Line = (0.0, 0.0)
    """Expected cost of all open coupons, in minor units, as level and slope over time: level - slope * t."""
    variance: Line = (0.0, 0.0)
    """Variance of the cost of all open coupons, likewise."""
    over_expected: Demand = 0.0
    """Expected cost, when they were given, of all coupons that are over; a total."""
    over_spent: Count = 0
    """Discounts taken off by the same coupons; a total."""
    demand: Annotated[list[Demand], Meta(max_length=64)] = []
    """Expected cost that decisions would have drawn at each of a few fixed prices, in minor units as prices count them:
    totals that only grow."""


class Reason(Struct, frozen=True, array_like=True):
    """One contribution to a score: the feature, its value, what it added to the log-odds."""

    feature: str
    """Name of the feature."""
    value: float
    """Its value."""
    contribution: float
    """What it added to the log-odds of a redemption."""


class CouponIssue(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """THE OUTPUT: give this shopper this coupon. Deduplicate on `issue_id`."""

    issue_id: Id
    """Identifies the issue: copies have the same id and the same bytes."""
    user_id: Id
    """Who gets the coupon: the record's key."""
    coupon_id: Id
    """The coupon of the catalogue."""
    domain: str
    """Domain of the coupon."""
    issued_at: EpochSeconds
    """Time of the event that led to it; it may be as old as `policy.trigger_timeout_s`."""
    expires_at: EpochSeconds
    """Until when it can be used: `issued_at` plus the coupon's `redeem_within_s`."""
    trigger_id: Id
    """The `event_id` that led to it."""
    schema_version: int = SCHEMA_VERSION
    """Of a greater version any field may mean something else: stop there."""
    title: Label = ""
    """The coupon's."""
    discount_percent: float | None = None
    """Percentage off."""
    discount_minor: Amount | None = None
    """Amount off; honour this one where both are set."""
    max_discount_minor: Amount
    """The most that it may take off in any case."""
    p_click: Ratio
    """Predicted probability of a click."""
    p_redeem: Ratio
    """Predicted probability that the coupon is used in its window."""
    p_order: Ratio
    """Predicted probability of an order in its scope without a coupon."""
    value_minor: float
    """Expected gain over giving none, in minor units of money."""
    price_minor: float = 0.0
    """Price of its expected cost by the budgets that it draws on: it was given as it is worth more than that."""
    campaign_id: Id | None = None
    """The coupon's campaign."""
    held_minor: Amount
    """Money held for it. Less than `max_discount_minor` falls evenly to nothing while it can be used."""
    propensity: Ratio
    """Probability with which this coupon was to be given, those that are sold out left out."""
    is_explored: bool = False
    """It was drawn by chance, whatever it is worth."""
    model_version: Count
    """Version of the model snapshot that scored it."""
    reasons: list[Reason] = []
    """The features with the largest effect, strongest first: `policy.explain_top` of them."""


DecisionResult = Literal["given", "not_worth_it", "control", "holdout"]


class LoggedDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision on a trigger, whatever it led to: the arms that it chose among and how likely each was.

    Not exploring, the arm `best` is given, the one with the greatest value less price; exploring draws one of `tried`,
    all alike. So arm i is given with probability `exploration_ratio / len(tried)`, if it is among the tried, and
    `1 - exploration_ratio` more if it is the best one; none with `1 - exploration_ratio` if none is worth it. What is
    sold out is no arm. Deduplicate on `decision_id`.
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
    """What it led to: a coupon (`given`), or why not."""
    model_version: Count
    """Version of the model that scored the arms."""
    coupon_id: Id = NO_COUPON
    """The coupon given, or `none`."""
    propensity: Ratio | None = None
    """Probability of what it led to, if it is known: of the coupon given, or of giving none because nothing was worth
    it."""
    arms: list[Id]
    """The coupons that could be given."""
    values_minor: list[float]
    """What each was expected to bring over giving none, in minor units of money."""
    prices_minor: list[float] = []
    """Price of each one's expected cost by the budgets that it draws on, in minor units; empty: 0 for all."""
    best: Count | None = None
    """Index of the arm that is given when not exploring; absent: nothing was worth it."""
    tried: list[Count] = []
    """Indices of the arms that exploring draws from; empty: all of them."""
    exploration_ratio: Ratio = 0.0
    """Probability of exploring."""
    control_ratio: Ratio = 0.0
    """Probability that nothing is given by chance, which is drawn before anything else: the probabilities above are
    those of all other decisions."""
    drawn: Count | None = None
    """Index of the arm that exploring drew, if it did."""
    sold_out: list[Id] = []
    """The coupons that the shopper might have got, but that had no stock or money left."""
    is_holdout: bool = False
    """The shopper belongs to the permanent control group."""
    logged_ratio: Ratio = 1.0
    """Share of all decisions that are on record: `policy.decisions_logged_ratio`."""


class TrainingExample(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was known when a decision was made, and what had come of it when its window closed.

    `observed` says that another system gave the coupon; `withheld` that ours would have, but for the holdout. `seen` is
    known where the channel reports impressions: one that was never seen is on record here, and nobody learns from it.
    `feature_schema` names what `numeric` and `hashed` mean; empty: a version kept them that did not say so.
    """

    example_id: LongId
    """Identifies the example: issue and head."""
    domain: Domain
    """Domain of the coupon: the record's key."""
    head: Literal["click", "redeem", "order"]
    """What is predicted: a click, a redemption, or an order without a coupon."""
    label: bool
    """Whether it happened in time."""
    decided_at: EpochSeconds
    """Time of the decision."""
    at: EpochSeconds
    """When the label was final."""
    feature_schema: str
    """Names what `numeric` and `hashed` mean."""
    numeric: list[float]
    """Numeric features at decision time."""
    hashed: list[int]
    """Indices of hashed features at decision time."""
    predicted: Ratio
    """What was predicted then."""
    propensity: Ratio | None = None
    """Probability with which the coupon was chosen, where known."""
    model_version: Count = 0
    """Version of the model that predicted."""
    coupon_id: Id
    """The coupon, or `none`."""
    user_id: Id
    """The shopper."""
    issue_id: LongId
    """The issue, or the decision that none was given in."""
    observed: bool = False
    """Another system gave the coupon."""
    withheld: bool = False
    """The coupon was not given, because the shopper belongs to the control group."""
    seen: bool | None = None
    """Whether an impression was reported, where the channel reports them."""
    ordered: bool | None = None
    """The shopper ordered in the coupon's scope within its window, given or not, by `order-events`; absent if that is
    not known."""
    order_value_minor: Amount | None = None
    """Value of all that was ordered so, before any discount; absent if `ordered` is."""
    discount_minor: Amount = 0
    """What the coupon took off when it was used, whether in time or not."""

    @property
    def is_lesson(self) -> bool:
        """Whether its label says something: silence on a coupon that was never seen does not."""
        return self.seen is not False


class OpenDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision whose label has not come, and what has come of it by now: clicks and purchases that came in time.

    What comes until `until` counts; the label is due at `label_at`, when what was on its way has come, too. The first
    message of a decision has its features: numbers and places as little-endian bytes of 32 bits each. Those that follow
    say what has come since, or that it is over before its time.
    """

    issue_id: LongId
    """The issue, or the decision that none was given in."""
    domain: Domain
    """Domain of the coupon: the record's key."""
    coupon_id: Id
    """The coupon, or `none`."""
    at: EpochSeconds
    """Time of this message."""
    decided_at: EpochSeconds
    """Time of the decision."""
    until: EpochSeconds
    """What happens until then counts."""
    label_at: EpochSeconds
    """When the label is final."""
    clicked: bool = False
    """A click came in time."""
    redeemed: bool = False
    """A purchase came in time."""
    is_over: bool = False
    """It is settled before its time."""
    feature_schema: str = ""
    """Names what `numeric` and `hashed` mean; in the first message only."""
    numeric: Base64 = b""
    """Numeric features, base64 of little-endian 32-bit floats; in the first message only."""
    hashed: Base64 = b""
    """Indices of hashed features, base64 of little-endian 32-bit integers; in the first message only."""

    @property
    def is_first(self) -> bool:
        """Whether it is the first message of its decision."""
        return bool(self.numeric)


class HeadQuality(Struct, frozen=True, kw_only=True):
    """Progressive (test-then-train) quality of one head since the start."""

    examples: Count
    """Labels so far."""
    positives: Count
    """Positive labels among them."""
    log_loss: float
    """Mean log loss of the served predictions."""
    roc_auc: float | None
    """ROC AUC of the served predictions; null while undefined."""
    base_log_loss: float
    """Mean log loss of predicting the base rate so far."""


class Array(Struct, frozen=True, array_like=True):
    """An array of numbers as data: little-endian, zlib-compressed."""

    dtype: Literal["<f8", "<f4", "<u4", "<i8"]
    """NumPy's name of the number type."""
    shape: Annotated[list[Count], Meta(max_length=4)]
    """Length of each axis."""
    data: bytes
    """The numbers, zlib-compressed, little-endian, row by row."""


class HeadState(Struct, frozen=True, kw_only=True):
    """All models of one head: which of them serves, and the state of each part as named arrays.

    The parts are the models by name, and what stands beside them: how they compare, calibration and drift.
    """

    champion: str
    """The model that serves."""
    parts: dict[str, dict[str, Array]]
    """Arrays by part and name."""


class ModelSnapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model of a domain as data: what workers score with and what the learner resumes from."""

    domain: str
    """The domain that it scores."""
    version: Count
    """Grows with every snapshot of the domain."""
    format_version: int
    """Format of this message."""
    feature_schema: str
    """Names what the features mean."""
    river_version: str
    """Version of the library that learnt it."""
    examples: Count
    """Examples learnt."""
    source_offset: Annotated[int, Meta(ge=-1)]
    """Offset of the last record of `training-examples` that was learnt from."""
    origins: dict[str, tuple[int, int]] = {}
    """By partition of the senders, the last origin learnt from."""
    at: EpochSeconds
    """Time of the last example."""
    heads: dict[str, HeadState]
    """The models by head."""
    early: dict[str, dict[str, Array]] = {}
    """Outcomes so far of open decisions, with and without a coupon, as named arrays."""
    quality: dict[str, HeadQuality] = {}
    """Progressive quality by head."""
    checksum: int
    """CRC-32 of the arrays of `heads`."""
    early_checksum: int = 0
    """CRC-32 of the arrays of `early`."""
    open_offset: Annotated[int, Meta(ge=-1)] = -1
    """Offset of the last record of `open-decisions` that was read."""

    @property
    def series(self) -> str:
        """The domain, and what programs can read it: the key of the topic.

        So a release with other features, or another format, leaves the last model of the one before, which goes on from
        it if the release is rolled back.
        """
        return f"{self.domain} {self.feature_schema} {self.format_version}"
