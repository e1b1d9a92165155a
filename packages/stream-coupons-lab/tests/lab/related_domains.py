"""A log of two related domains: what makes shoppers redeem is alike in both, base rate and categories are not."""

import random
from typing import Any

from .foreign_logs import AT, HOUR_S, Record, feedback, issue

DONOR, NEW = "retail", "travel"
CATEGORIES = {DONOR: ("tea", "wine", "soap", "toys"), NEW: ("rail", "hotel", "ferry", "tours")}
CHANNELS = {"app": 1.2, "mail": -0.6, "letter": -1.2}
DEPTHS = (5, 15, 30)
BASE_LOG_ODDS = {DONOR: -2.0, NEW: -1.6}
SHOPPERS = 30
WINDOW_S = 12 * HOUR_S


def drawn(seed: int, donor_issues: int = 1500, new_issues: int = 300) -> list[Record]:
    """Issues of the donor, one an hour, then of both in turn: depth, channel, shopper and what was looked at decide."""
    rng = random.Random(seed)
    generosity = [rng.gauss(0, 1) for _ in range(SHOPPERS)]
    domains = [DONOR] * donor_issues + [DONOR, NEW] * new_issues
    records: list[Record] = []
    for number, domain in enumerate(domains):
        at, shopper = AT + number * HOUR_S, rng.randrange(SHOPPERS)
        likes, category = CATEGORIES[domain][shopper % 4], rng.choice(CATEGORIES[domain])
        depth, channel = rng.choice(DEPTHS), rng.choice(list(CHANNELS))
        user_id, issue_id = f"u{shopper}", f"i{number}"
        item = {"item_id": f"{likes}-{rng.randrange(4)}", "category": likes, "price_minor": 1000}
        records.append({"type": "browse", "user_id": user_id, "occurred_at": at - 60, "item": item, "domain": domain})
        coupon: dict[str, Any] = {"coupon_id": f"{category}-{depth}", "domain": domain, "categories": [category]}
        coupon |= {"discount_percent": depth, "redeem_within_s": WINDOW_S}
        records.append(issue(issue_id, at, user_id=user_id, coupon=coupon, context={"channel": channel}))
        log_odds = BASE_LOG_ODDS[domain] + generosity[shopper] + CHANNELS[channel] + 0.05 * depth
        log_odds += 1.5 * (category == likes) - 0.5
        if rng.random() < 1 / (1 + 2.718281828**-log_odds):
            records.append(feedback("click", issue_id, at + 600))
            records.append(feedback("purchase", issue_id, at + HOUR_S))
    return records
