"""The numbers that the steps obey; `settings.py` reads them from file and environment."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0, le=1e15)]
NonNegative = Annotated[float, Meta(ge=0, le=1e15)]
Finite = Annotated[float, Meta(ge=-1e15, le=1e15)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Size = Annotated[int, Meta(ge=1)]

MissingPolicy = Literal["drop", "mean", "median", "min_max", "last"]


class ProfileRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How behaviour becomes a profile.

    `missing_price` says what stands in for a price that an event lacks, from the shopper's recent
    prices: drop it, their mean, median, the middle of their range (min_max), or the last one.
    """

    half_life_s: Positive = 14 * 86400.0
    browse_weight: NonNegative = 1.0
    cart_weight: NonNegative = 3.0
    order_weight: NonNegative = 5.0
    max_categories: Size = 96
    max_interests: Size = 128
    max_seen_events: Size = 128
    recent_prices: Size = 15
    missing_price: MissingPolicy = "median"
    max_ahead_s: NonNegative = 86400.0
    habit_half_life_s: Positive = 180 * 86400.0
    max_habits: Size = 512


class NeighbourhoodRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How near shoppers are found: within cells of bounded size, `neighbours` of them, by cosine.

    `max_vector` bounds both the vector that is sent of a shopper and the sum of the neighbours' that comes back.
    """

    cells: Size = 16
    neighbours: Size = 20
    max_members: Size = 512
    min_similarity: Ratio = 0.05
    publish_every_s: NonNegative = 3600.0
    max_vector: Size = 128


class PolicyRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may get a coupon when, and what it must be worth.

    `strategy` chooses among eligible coupons: "value" is the product; "random" is its baseline.
    `redemption_worth_minor` is what a redemption is worth beyond the margin of its order: a shopper won back, say.
    """

    triggers: frozenset[Literal["browse", "cart", "order"]] = frozenset({"browse", "cart"})
    strategy: Literal["value", "random"] = "value"
    cooldown_s: NonNegative = 6 * 3600.0
    max_issues_per_window: Size = 3
    issue_window_s: Positive = 7 * 86400.0
    quiet_from_hour: Annotated[float, Meta(ge=0, lt=24)] = 0.0
    quiet_until_hour: Annotated[float, Meta(ge=0, lt=24)] = 0.0
    reorder_suppress_s: NonNegative = 7 * 86400.0
    holdout_ratio: Ratio = 0.05
    exploration_ratio: Ratio = 0.05
    alternatives: Size = 3
    max_candidates: Size = 64
    cost_minor: NonNegative = 2.0
    cost_weight: NonNegative = 1.0
    min_value_minor: Finite = 0.0
    redemption_worth_minor: NonNegative = 0.0
    proposal_timeout_s: Positive = 3600.0
    typical_price_minor: Positive = 1000.0
    explain_top: Size = 5


class AttributionRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long feedback may take: early feedback waits for its issue, late feedback is refused."""

    early_feedback_s: NonNegative = 86400.0
    grace_s: NonNegative = 86400.0
    max_open_controls: Size = 8


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them."""

    profile: ProfileRules = ProfileRules()
    neighbourhood: NeighbourhoodRules = NeighbourhoodRules()
    policy: PolicyRules = PolicyRules()
    attribution: AttributionRules = AttributionRules()
    transfer: dict[str, str] = {}
    """By domain, the one whose model serves it until it has one of its own. None leads back to itself."""
    seed: int = 0
