"""Catalogue messages, published by marketers: coupons and campaigns."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.fields import (
    END_OF_TIME,
    MAX_NUMBERS,
    MAX_SCOPE,
    MAX_WINDOW_S,
    NO_COUPON,
    Amount,
    Code,
    Context,
    Count,
    Domain,
    EpochSeconds,
    Id,
    Label,
    Ratio,
    Rule,
)
from stream_coupons.core.messages.terms import Terms

BudgetCurve = Literal["none", "even", "front_loaded", "by_traffic"]
"""Target of a budget's spending over time; `none`: first come, first served."""

WhileHeld = Literal["overlapping", "same", "none"]
"""Coupons that a shopper must not hold when another one is given: any of an overlapping scope; the same one; none."""

BudgetHold = Literal["quantile", "maximum"]
"""Money that an open coupon holds of its budgets: its maximum cost, or its share of a quantile of the cost of all open
coupons."""

CodeSource = Literal["none", "generated", "pool"]
"""Source of the codes of a coupon's issues: no codes; derived from each issue, and verified by a till without a
connection; imported, each given once."""
MAX_BLOCK = 2000
"""The most codes of one record."""

OverspendRatio = Annotated[float, Meta(ge=0, le=100)]


DEFAULT_OVERSPEND_RATIO = 0.05


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

Hour = Annotated[float, Meta(ge=0, le=24)]


class Coupon(Terms, frozen=True, kw_only=True, omit_defaults=True):
    """A coupon of the catalogue: its scope, its discount and its limits.

    `attributes` are further facts. `vector` is an embedding of its content, of the `description` for instance.
    No coupon is called `none`: that id is the no-coupon arm. The number of categories times the number of brands is at
    most 10,000.
    """

    coupon_id: Id
    """Identifies the coupon, and is the key of its record."""
    domain: Domain = "ecommerce"
    """Selects the events that may lead to the coupon, and the model that scores it."""
    campaign_id: Id | None = None
    """The campaign whose budget and time it shares; while the campaign is unknown, the coupon is not issued."""
    title: Label = ""
    """Its name for people; repeated in its issues."""
    kind: Label = ""
    """Free label, such as `percent`."""
    typical_price_minor: Amount | None = None
    """Typical order value within its scope; absent, `policy.typical_price_minor`."""
    margin_ratio: Ratio = 0.3
    """Margin on an order within its scope, before the discount."""
    valid_from: EpochSeconds = 0.0
    """Start of the time in which it may be issued."""
    valid_until: EpochSeconds = END_OF_TIME
    """End of the time in which it may be issued."""
    redeem_within_s: Annotated[float, Meta(gt=0, le=int(MAX_WINDOW_S))] = 7 * 86400.0
    """Time from issue to expiry, in seconds; models learn the outcome when it is over."""
    stock: Count | None = None
    """The most that are ever issued; absent for no limit."""
    budget_minor: Amount | None = None
    """The most money held and spent on this coupon; unused coupons return theirs. Absent for no limit of its own."""
    budget_curve: BudgetCurve = "even"
    """Target use of `stock` and `budget_minor` from `valid_from` to `valid_until`; without an end, none."""
    budget_hold: BudgetHold = "quantile"
    """Money that an open coupon holds: `maximum` never overspends, `quantile` at most by `max_overspend_ratio`."""
    max_overspend_ratio: OverspendRatio = DEFAULT_OVERSPEND_RATIO
    """Spending beyond `budget_minor` if every open coupon took the most that it can, as a share of the budget, at most.
    The larger, the more coupons are open at a time. No effect where `budget_hold` is `maximum`."""
    caps: list[Cap] = field(default_factory=list)
    """The most issues of it to one shopper, by calendar period; empty for no limit."""
    not_while_held: WhileHeld = "overlapping"
    """Coupons that keep it from a shopper who holds one of them and has not used it yet."""
    eligible_if: Rule = ""
    """A rule in CEL over fields of shopper, trigger and coupon, which must be true; empty for everybody."""
    weekdays: list[Weekday] = field(default_factory=list)
    """Days on the shopper's calendar on which it may be issued; empty for all."""
    from_hour: Hour = 0.0
    """Hour on the shopper's clock from which it may be issued; equal to `until_hour` for all day."""
    until_hour: Hour = 0.0
    """Hour until which it may be issued. From 22 until 2 passes midnight: the weekday then changes, too."""
    channels: list[Label] = field(default_factory=list)
    """Channels in which it may be issued: the `channel` of a trigger's context is one of them; empty for any."""
    exclusion_group: Label = ""
    """Group of coupons, in all domains, of which a shopper holds at most one at a time; empty for none."""
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    """Among the coupons that are worth giving, one of the highest priority is given, and of these the most valuable.
    Exploration, and a policy from another package, draw whatever the priority."""
    codes: CodeSource = "none"
    """Source of the code that each issue carries."""
    code_prefix: Annotated[str, Meta(pattern="^[A-Z0-9]{0,12}$")] = ""
    """Name of the coupon before a generated code: capitals and digits."""
    paused: bool = False
    """True: none are issued for now."""
    attributes: Context = field(default_factory=dict)
    """Further facts about the coupon; the first 12 names of a domain become features."""
    description: Annotated[str, Meta(max_length=10_000)] = ""
    """A text for people, and for what computes the vector."""
    vector: Annotated[list[float], Meta(min_length=1, max_length=MAX_NUMBERS)] | None = None
    """Embedding of its content by any text or image model, the same model for all coupons of a domain."""

    def __post_init__(self) -> None:
        if self.coupon_id == NO_COUPON:
            raise ValueError(f"coupon_id {NO_COUPON!r} stands for giving no coupon, expected another one")
        if len(self.categories) * len(self.brands) > MAX_SCOPE:
            named = f"{len(self.categories)} categories times {len(self.brands)} brands"
            raise ValueError(f"{named}, expected at most {MAX_SCOPE} pairs")
        if self.vector is not None:
            check_vector(self.vector)


def check_vector(vector: Sequence[float]) -> None:
    """Refuse a vector without a direction.

    Raises
    ------
    ValueError
        If it is empty, longer than `MAX_NUMBERS`, all zeros, or has an entry that is not finite.
    """
    if not 1 <= len(vector) <= MAX_NUMBERS:
        raise ValueError(f"vector has {len(vector)} numbers, expected 1 to {MAX_NUMBERS}")
    for place, number in enumerate(vector):
        if not math.isfinite(number):
            raise ValueError(f"vector[{place}] is {number}, expected a finite number")
    if not any(vector):
        raise ValueError("vector is all zeros, expected one number at least that is not")


CampaignState = Literal["draft", "staged", "approved", "ramp", "running", "paused", "held", "ended", "archived"]
"""States of a campaign's life, in order."""
MAX_SIGNATURES = 16


class Signature(Struct, frozen=True, kw_only=True):
    """An operator's approval of a campaign and its coupons as they are."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    """Name of the operator's key in `approval.keys`."""
    signature: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]
    """Ed25519 signature of the campaign's terms and those of its coupons, in hexadecimal digits."""


GuardrailMetric = Literal["lift", "roi", "redemption_ratio", "spend_a_day"]
"""Measures of a guardrail, each of the campaign in one domain."""
GuardrailAction = Literal["hold", "pause"]
MAX_GUARDRAILS = 8


class Guardrail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A bound of a campaign's measured results, beyond which the learner stops the campaign.

    A metric is beyond its limit once its whole interval is, which is valid at all looks together.
    """

    metric: GuardrailMetric
    """`lift`: margin over the campaign's holdout by shopper, minor units. `roi`: lift of all treated shoppers over
    discounts. `redemption_ratio`: coupons used over coupons given. `spend_a_day`: discounts reported on the shop's
    current day, minor units."""
    limit: Annotated[float, Meta(ge=-1e12, le=1e12)] = 0.0
    """Lower bound of `lift` and `roi`, upper bound of `redemption_ratio` and `spend_a_day`."""
    action: GuardrailAction = "hold"
    """The verb by which the campaign is stopped."""


class Campaign(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A budget and a time shared by the coupons that name it as their `campaign_id`."""

    campaign_id: Id
    """Identifies the campaign, and is the key of its record."""
    title: Label = ""
    """Its name for people."""
    starts_at: EpochSeconds = 0.0
    """Start of the time in which its coupons may be issued."""
    ends_at: EpochSeconds = END_OF_TIME
    """End of the time in which its coupons may be issued."""
    budget_minor: Amount | None = None
    """The most money held and spent on all of its coupons; absent for no limit."""
    budget_curve: BudgetCurve = "even"
    """Target of the spending between `starts_at` and `ends_at`; without an end, none."""
    budget_hold: BudgetHold = "quantile"
    """Money that an open coupon holds: `maximum` never overspends, `quantile` at most by `max_overspend_ratio`."""
    max_overspend_ratio: OverspendRatio = DEFAULT_OVERSPEND_RATIO
    """Spending beyond `budget_minor` if every open coupon took the most that it can, as a share of the budget, at most.
    The larger, the more coupons are open at a time. No effect where `budget_hold` is `maximum`."""
    eligible_if: Rule = ""
    """A rule in CEL that must be true for each of its coupons, beside their own."""
    weekdays: list[Weekday] = []
    """Days on the shopper's calendar on which its coupons may be issued; empty for all."""
    from_hour: Hour = 0.0
    """Hour on the shopper's clock from which its coupons may be issued; equal to `until_hour` for all day."""
    until_hour: Hour = 0.0
    """Hour until which its coupons may be issued."""
    caps: list[Cap] = []
    """The most issues of all of its coupons to one shopper, by calendar period; empty for no limit."""
    holdout_ratio: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    """Share of the shoppers who get none of its coupons, drawn by the secret, to measure what it earns. Who is left out
    stays so when the share is raised."""
    guardrails: Annotated[list[Guardrail], Meta(max_length=MAX_GUARDRAILS)] = []
    """Bounds of its measured results: the first one that is passed stops the campaign."""
    state: CampaignState = "running"
    """State of its life. Coupons are issued while it is `running`, or `ramp`: to some shoppers. While it is `staged`,
    decisions record which of its coupons they would have given."""
    ramp_ratio: Ratio = 1.0
    """Share of the shoppers who may get its coupons while its state is `ramp`; those of 5 % are among those of 25 %."""
    signatures: Annotated[list[Signature], Meta(max_length=MAX_SIGNATURES)] = []
    """Approvals, where `approval.required` asks for some. `campaigns approve` adds one."""


class CodeBlock(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Codes that were imported for a coupon, or codes that are revoked."""

    coupon_id: Id
    """The coupon, and the key of its record."""
    first: Count | None = None
    """Number of the first code in the coupon's pool, from 0 on. Absent: the revoked code was generated."""
    after: Annotated[str, Meta(max_length=16)] = ""
    """Digest of all codes that were imported before, of any coupon; absent: none was. Codes that another import has
    overtaken count for nothing, and are imported again."""
    codes: Annotated[list[Code], Meta(min_length=1, max_length=MAX_BLOCK)]
    """The codes, in the order of their numbers."""
    revoked: bool = False
    """True: these codes must not be given or accepted any more."""
