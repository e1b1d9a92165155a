"""Names that other coupon systems give to fields."""

from collections.abc import Iterable

from stream_coupons.core.validation_hints import near

_NAMES = {
    "min_spend_minor": "min_spend min_basket min_order min_order_value min_purchase min_cart min_subtotal min_amount",
    "min_pieces": "min_quantity min_items min_qty",
    "max_discount_minor": "max_discount discount_cap max_amount",
    "discount_percent": "percent percentage percent_off discount_percentage discount_rate",
    "discount_minor": "amount amount_off discount_amount fixed_amount",
    "coupon_id": "id code coupon coupon_code promotion_id",
    "campaign_id": "id campaign campaign_name",
    "title": "name label",
    "valid_from": "start starts starts_at start_date begins_at active_from",
    "valid_until": "end ends ends_at end_date valid_to expires expires_at expiry expiry_date expiration_date",
    "starts_at": "start starts valid_from start_date begins_at active_from",
    "ends_at": "end ends end_date valid_to valid_until expires_at expiry_date expiration_date",
    "redeem_within_s": "redeem_within valid_days validity valid_for ttl",
    "stock": "usage_limit max_uses max_redemptions redemption_limit quantity total_limit",
    "caps": "max_per_user usage_limit_per_user usage_limit_per_customer per_user_limit customer_limit",
    "budget_minor": "budget total_budget budget_limit",
    "budget_curve": "pacing delivery",
    "paused": "active enabled is_active status disabled",
    "state": "paused active enabled is_active status disabled",
    "categories": "category collections product_categories",
    "brands": "brand manufacturers",
    "items": "item products product_ids skus",
    "time_zone": "timezone tz",
    "exclusion_group": "stacking group exclusive combinable",
    "channels": "channel placements",
    "rule": "condition conditions segment segments audience",
}
"""Names by field, `min` also standing for `minimum` and `max` for `maximum`."""


def meant(name: str, fields: Iterable[str]) -> str:
    """Return the field that an unknown name probably means, as the end of a sentence; empty if none is known.

    >>> meant("minimum_order", ["budget_minor", "min_spend_minor"]), meant("min_basket_minor", ["budget_minor"])
    (', expected min_spend_minor?', '')
    >>> meant("endDate", ["valid_until", "stock"]), meant("colour", ["stock"])
    (', expected valid_until?', '')
    """
    plain = "".join(f"_{letter}" if letter.isupper() else letter for letter in name).lower().strip("_")
    plain = plain.replace("-", "_").replace(" ", "_").replace("minimum", "min").replace("maximum", "max")
    known = list(fields)
    for field in known:
        if plain == field or plain.removesuffix("_minor") in _NAMES.get(field, "").split():
            return f", expected {field}?"
    return near(plain, known)
