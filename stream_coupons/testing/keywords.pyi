# Written by builder_keywords.py from the messages: change these, then run it.

from typing import Literal, TypedDict

from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.catalogue import Guardrail, Signature
from stream_coupons.core.messages.decisions import Reason

class PolicyRulesFields(TypedDict, total=False):
    triggers: frozenset[Literal["browse", "cart", "order"]]
    strategy: str
    cooldown_s: float
    max_issues_per_window: int
    issue_window_s: float
    caps: list[Cap]
    quiet_from_hour: float
    quiet_until_hour: float
    reorder_suppress_s: float
    holdout_ratio: float
    holdout_controls: int
    controls_apart: int
    watched_ratio: float
    exploration_ratio: float
    explored_candidates: int
    control_ratio: float
    first_control_ratio: float
    max_candidates: int
    known_after: float
    trusted_views: float
    new_shopper_ratio: float
    new_for_s: float
    cost_minor: float
    cost_weight: float
    min_value_minor: float
    redemption_worth_minor: float
    trigger_timeout_s: float
    decisions_logged_ratio: float
    typical_price_minor: float
    margin_ratio: float
    domain_margin_ratios: dict[str, float]
    totals_every_s: float
    lift_brake: bool
    brake_probe_ratio: float
    explain_top: int

class CouponFields(TypedDict, total=False):
    categories: list[str]
    brands: list[str]
    items: list[str]
    discount_percent: float | None
    discount_minor: int | None
    free_delivery_minor: int | None
    gift_item: str | None
    gift_cost_minor: int
    buy_pieces: int | None
    get_pieces: int
    get_percent: float
    max_discount_minor: int
    min_spend_minor: int | None
    min_pieces: int | None
    domain: str
    campaign_id: str | None
    title: str
    kind: str
    typical_price_minor: int | None
    margin_ratio: float
    valid_from: float
    valid_until: float
    redeem_within_s: float
    stock: int | None
    budget_minor: int | None
    budget_curve: Literal["none", "even", "front_loaded", "by_traffic"]
    budget_hold: Literal["quantile", "maximum"]
    max_overspend_ratio: float
    caps: list[Cap]
    not_while_held: Literal["overlapping", "same", "none"]
    eligible_if: str
    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]]
    from_hour: float
    until_hour: float
    channels: list[str]
    exclusion_group: str
    priority: int
    codes: Literal["none", "generated", "pool"]
    code_prefix: str
    paused: bool
    attributes: dict[str, str | float | bool | None]
    description: str
    vector: list[float] | None

class CampaignFields(TypedDict, total=False):
    title: str
    starts_at: float
    ends_at: float
    budget_minor: int | None
    budget_curve: Literal["none", "even", "front_loaded", "by_traffic"]
    budget_hold: Literal["quantile", "maximum"]
    max_overspend_ratio: float
    eligible_if: str
    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]]
    from_hour: float
    until_hour: float
    caps: list[Cap]
    holdout_ratio: float
    guardrails: list[Guardrail]
    state: Literal["draft", "staged", "approved", "ramp", "running", "paused", "held", "ended", "archived"]
    ramp_ratio: float
    signatures: list[Signature]

class ItemFields(TypedDict, total=False):
    category: str | None
    brand: str | None
    price_minor: int | None
    quantity: float | None
    margin_ratio: float | None

class BrowseEventFields(TypedDict, total=False):
    event_id: str
    schema_version: int
    domain: str
    context: dict[str, str | float | bool | None]

class CartEventFields(TypedDict, total=False):
    event_id: str
    schema_version: int
    domain: str
    action: Literal["add", "remove"]
    context: dict[str, str | float | bool | None]

class OrderEventFields(TypedDict, total=False):
    event_id: str
    schema_version: int
    domain: str
    order_id: str
    total_minor: int | None
    discount_minor: int | None
    currency: str | None
    context: dict[str, str | float | bool | None]

class FeedbackEventFields(TypedDict, total=False):
    event_id: str
    schema_version: int
    domain: str
    coupon_id: str | None
    code: str | None
    order_id: str | None
    discount_minor: int | None
    order_value_minor: int | None
    currency: str | None

class ObservedIssueFields(TypedDict, total=False):
    event_id: str
    schema_version: int
    domain: str
    issue_id: str
    expires_at: float
    propensity: float | None
    arms: list[str]
    context: dict[str, str | float | bool | None]

class ErasureRequestFields(TypedDict, total=False):
    event_id: str
    schema_version: int
    domain: str

class CouponIssueFields(TypedDict, total=False):
    categories: list[str]
    brands: list[str]
    items: list[str]
    discount_percent: float | None
    discount_minor: int | None
    free_delivery_minor: int | None
    gift_item: str | None
    gift_cost_minor: int
    buy_pieces: int | None
    get_pieces: int
    get_percent: float
    max_discount_minor: int
    min_spend_minor: int | None
    min_pieces: int | None
    issue_id: str
    domain: str
    expires_at: float
    trigger_id: str
    schema_version: int
    title: str
    scope_in_catalogue: bool
    currency: str | None
    p_click: float
    p_redeem: float
    p_order: float
    value_minor: float
    price_minor: float
    campaign_id: str | None
    code: str | None
    held_minor: int
    propensity: float
    is_explored: bool
    model_version: int
    reasons: list[Reason]
