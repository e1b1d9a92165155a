"""Parameters of the steps; `settings.py` reads them from file and environment."""

from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal, cast, get_args
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from stream_coupons.core import plugins
from stream_coupons.core.caps import Cap
from stream_coupons.core.currencies import Currency
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.time_zones import zone

Positive = Annotated[float, Meta(gt=0, le=1e15)]
NonNegative = Annotated[float, Meta(ge=0, le=1e15)]
Finite = Annotated[float, Meta(ge=-1e15, le=1e15)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Size = Annotated[int, Meta(ge=1)]

MissingPolicy = Literal["drop", "median", "last"]
LabelPolicy = Literal["drop", "same_item", "last"]
KeyPolicy = Annotated[str, Meta(pattern=rf"^.{{1,56}}=({'|'.join(get_args(MissingPolicy))})$")]
"""`key=policy` for a key of the context; its length leaves room for the flag that marks it as missing."""


class ProfileRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules that turn behaviour into a profile.

    The `missing_` policies impute missing values from the past of the same shopper. `missing_price` imputes a price
    from the recent ones: nothing (drop), their median, or the last one. `missing_category` and `missing_brand` impute
    nothing, the last value of the same item, or the last value of any item. `missing_context` has a `key=policy`, with
    the policies of prices, for each key of the context to impute. Shoppers without an event for `forget_after_s` are
    forgotten; 0 is never.
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
    missing_category: LabelPolicy = "drop"
    missing_brand: LabelPolicy = "drop"
    missing_context: frozenset[KeyPolicy] = frozenset()
    max_ahead_s: NonNegative = 86400.0
    habit_half_life_s: Positive = 180 * 86400.0
    max_habits: Size = 512
    forget_after_s: NonNegative = 0.0

    def __post_init__(self) -> None:
        if len(self.context_policies) < len(self.missing_context):
            raise ValueError(f"missing_context: a key has two policies in {sorted(self.missing_context)}")

    @property
    def context_policies(self) -> Mapping[str, MissingPolicy]:
        """Imputation policy by key of the context."""
        return _by_key(self.missing_context)


@lru_cache
def _by_key(policies: frozenset[KeyPolicy]) -> dict[str, MissingPolicy]:
    pairs = (named.rpartition("=") for named in sorted(policies))
    return {key: cast("MissingPolicy", policy) for key, _, policy in pairs}


class NeighbourhoodRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of the search for near shoppers: `neighbours` by cosine, within buckets of bounded size.

    A shopper sends a vector every `publish_every_s` at most, and asks for related categories every `related_every_s`.
    """

    cells: Size = 16
    neighbours: Size = 20
    max_members: Size = 512
    publish_every_s: NonNegative = 3600.0
    related_every_s: NonNegative = 86400.0


KEY_BYTES = 32
"""Length of an Ed25519 public key."""
STRATEGIES = ("value", "random")
"""The engine's own policies."""


class PolicyRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of the decision: eligible shoppers and times, and the value that a coupon must have.

    `strategy` chooses among eligible coupons: "value" is the product; "random" is its baseline; other texts name a
    policy from another package, which explores by itself. Exploration draws one of the `explored_candidates` with the
    greatest value.
    A trigger that is older than `trigger_timeout_s` at decision time leads to no coupon.
    Chance withholds a coupon that was chosen with a probability of at most `control_ratio`, in the first week of a
    domain `first_control_ratio`: the most where its value may be below zero, a third of that where it is sure; with
    `control_ratio` 0 never. `watched_ratio` of the triggers of shoppers at
    the frequency cap are control observations, each of one coupon drawn from all.
    Beside each coupon given, up to `controls_apart` coupons of other scopes are control observations.
    `decisions_logged_ratio` of all decisions are recorded in the topic `decisions`, drawn by the secret.
    Shoppers with fewer than `known_after` known events get coupons within their own interests, or those of similar
    shoppers, or none. After `trusted_views` views in their domain, other coupons count half their value.
    Shoppers are new for `new_for_s` after their first event. In an hour, new shoppers draw at most `new_shopper_ratio`
    of each stock and budget, or three mean hours of its time if that is more, and at least one coupon a partition; with
    1 there is no bound.
    `redemption_worth_minor` is the value of a redemption beyond the margin of its order: a shopper won back, say.
    `domain_margin_ratios`, by domain, and else `margin_ratio` is the margin that reports on measured money assume for
    items outside of every coupon's scope, if neither the item nor its category states one.
    Partitions report the totals of lift, and the results of coupons, every `totals_every_s` at most.
    With `lift_brake`, a domain whose lift lies below zero gives coupons to `brake_probe_ratio` of the shoppers only,
    and values beyond the measured lift are reduced.
    `max_issues_per_window` counts in any window of that length, `caps` in calendar periods of `shop.time_zone`.
    Quiet hours are in the time zone that a trigger's context names as `time_zone`, or else in `shop.time_zone`.
    """

    triggers: frozenset[Literal["browse", "cart", "order"]] = frozenset({"browse", "cart"})
    strategy: str = "value"
    cooldown_s: NonNegative = 6 * 3600.0
    max_issues_per_window: Size = 3
    issue_window_s: Positive = 7 * 86400.0
    caps: list[Cap] = []
    quiet_from_hour: Annotated[float, Meta(ge=0, lt=24)] = 0.0
    quiet_until_hour: Annotated[float, Meta(ge=0, lt=24)] = 0.0
    reorder_suppress_s: NonNegative = 7 * 86400.0
    holdout_ratio: Ratio = 0.05
    holdout_controls: Size = 5
    controls_apart: Annotated[int, Meta(ge=0)] = 2
    watched_ratio: Ratio = 0.5
    exploration_ratio: Ratio = 0.05
    explored_candidates: Size = 64
    control_ratio: Ratio = 0.03
    first_control_ratio: Ratio = 0.06
    max_candidates: Size = 64
    known_after: NonNegative = 4.0
    trusted_views: NonNegative = 600.0
    new_shopper_ratio: Ratio = 0.1
    new_for_s: NonNegative = 86400.0
    cost_minor: NonNegative = 2.0
    cost_weight: NonNegative = 1.0
    min_value_minor: Finite = 2.0
    redemption_worth_minor: NonNegative = 0.0
    trigger_timeout_s: Positive = 3600.0
    decisions_logged_ratio: Ratio = 1.0
    typical_price_minor: Positive = 1000.0
    margin_ratio: Ratio = 0.3
    domain_margin_ratios: dict[Annotated[str, Meta(min_length=1, max_length=64)], Ratio] = {}
    totals_every_s: NonNegative = 30.0
    lift_brake: bool = True
    brake_probe_ratio: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    explain_top: Size = 5

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            try:
                plugins.point_of(self.strategy, plugins.POLICIES, STRATEGIES)
            except ValueError as error:
                raise ValueError(f"strategy: {error}") from None


class AttributionRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times and bounds of feedback: early feedback waits for its issue, late feedback is refused.

    Late reports of purchases, refunds and cancellations are booked for `late_s` after the window has closed, on the
    last 32 coupons of a shopper. Feedback may be dated at most `max_ahead_s` after its arrival: a report of the future
    would outdate the true ones.
    `impression_domains` are the domains whose channels report every impression: there, the outcome of an unseen coupon
    carries no information on its value. A worker sees too few shoppers to infer these domains.
    The oldest of more than `max_open_observed` open coupons of other systems, or of more than `max_observed_bytes` of
    them, is dropped. So a producer of endless issues cannot make a shopper's state outgrow a record, nor make each
    event write much more than its own size.
    Orders within `visit_s` of a decision teach P(order within the visit); with 0 no visit is watched.
    """

    early_feedback_s: NonNegative = 86400.0
    grace_s: NonNegative = 86400.0
    late_s: NonNegative = 30 * 86400.0
    max_ahead_s: NonNegative = 300.0
    visit_s: NonNegative = 3600.0
    impression_domains: frozenset[Annotated[str, Meta(min_length=1, max_length=64)]] = frozenset()
    max_open_controls: Size = 24
    max_open_observed: Size = 512
    max_observed_bytes: Size = 262_144


class ShopRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts about the shop: its time zone, and the currency of each domain.

    Times without an offset are in its `time_zone`; the periods of caps begin at midnight there. Hours and weekdays of
    coupons, of rules and of quiet hours are in the zone that a trigger's context names as `time_zone`, or else in it.
    A domain that is not among the `currencies`, by their ISO 4217 codes, has money in minor units without a name.
    """

    time_zone: str = "UTC"
    currencies: dict[Annotated[str, Meta(min_length=1, max_length=64)], Currency] = {}

    def __post_init__(self) -> None:
        zone(self.time_zone)

    def currency(self, domain: str) -> str | None:
        """Return the currency of a domain; of an empty name, the one that all domains share."""
        codes = {*self.currencies.values()} if not domain else {self.currencies.get(domain)}
        return codes.pop() if len(codes) == 1 else None

    def refusal_of(self, currency: str | None, domain: str) -> str | None:
        """Return the reason why money that names this currency is none of the domain's, or None.

        Parameters
        ----------
        currency : str or None
            ISO 4217 code that a message names, if it names one.
        domain : str
            Domain of the message.
        """
        if currency is None or (expected := self.currency(domain)) in (None, currency):
            return None
        return f"currency is {currency!r}, that of domain {domain!r} is {expected!r} by shop.currencies"

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return zone(self.time_zone)


class ApprovalRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Approval of campaigns by several operators.

    Where `required` is above 0, a coupon is given only within a campaign that so many of the `keys` have signed as it
    is. `keys` has the Ed25519 public key of each operator by name, 32 bytes in hexadecimal digits or base64.
    `operator` is the name that changes are recorded with; empty: the user of the machine.
    """

    required: Annotated[int, Meta(ge=0, le=16)] = 0
    keys: dict[Annotated[str, Meta(min_length=1, max_length=64)], str] = {}
    operator: Annotated[str, Meta(max_length=200)] = ""

    def __post_init__(self) -> None:
        names: dict[bytes, str] = {}
        for name, key in self.public_keys.items():
            if key in names:
                raise ValueError(f"keys: {names[key]!r} and {name!r} have the same key, expected one a person")
            names[key] = name
        if self.required > len(self.keys):
            raise ValueError(f"required is {self.required}, expected at most the number of keys, {len(self.keys)}")

    @property
    def public_keys(self) -> dict[str, bytes]:
        """The keys as 32 bytes, by name."""
        return {name: _public_key(name, text) for name, text in self.keys.items()}


def _public_key(name: str, text: str) -> bytes:
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        expected = "64 hexadecimal digits or 44 of base64, as `stream-coupons campaigns keygen` prints"
        raise ValueError(f"keys: that of {name!r} is no Ed25519 public key, expected {expected}")
    return key


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rules of the steps, with the secret of the draws."""

    profile: ProfileRules = ProfileRules()
    neighbourhood: NeighbourhoodRules = NeighbourhoodRules()
    policy: PolicyRules = PolicyRules()
    attribution: AttributionRules = AttributionRules()
    shop: ShopRules = ShopRules()
    approval: ApprovalRules = ApprovalRules()
    key: DrawKey
    related_buckets: Size = 1
    """Samples of shoppers in each domain from which it is learnt which categories go together."""
    transfer: dict[str, str] = {}
    """By domain, the domain whose model serves it until it has its own. No chain leads back to its start."""
