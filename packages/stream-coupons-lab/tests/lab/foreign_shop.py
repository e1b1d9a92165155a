"""A foreign log with a hidden truth: who likes a category redeems its coupons, others seldom do."""

import random
from pathlib import Path
from typing import Any

import msgspec

START_AT = 1_767_225_600.0
HOUR_S = 3600.0
WINDOW_S = 24 * HOUR_S
CATEGORIES = ("tea", "wine", "soap", "toys")


def write_log(path: Path, issues: int = 400, shoppers: int = 40, seed: int = 1) -> Path:
    """An issue every hour, to a shopper who has just looked at something they like; clicks tell nothing."""
    draw = random.Random(seed)
    lines: list[dict[str, Any]] = []
    for number in range(issues):
        shopper = draw.randrange(shoppers)
        user_id, likes = f"u{shopper}", CATEGORIES[shopper % len(CATEGORIES)]
        category = draw.choice(CATEGORIES)
        at = START_AT + number * HOUR_S
        who = {"user_id": user_id}
        item = {"item_id": f"{likes}-{draw.randrange(3)}", "category": likes, "price_minor": 500}
        coupon = {"coupon_id": f"c-{category}", "categories": [category], "discount_percent": 10.0}
        issue_id = f"i{number}"
        lines.append({"type": "browse", "occurred_at": at - 60, "item": item, **who})
        lines.append(
            {"type": "issue", "issue_id": issue_id, "occurred_at": at, "expires_at": at + WINDOW_S, "coupon": coupon}
            | who
        )
        feedback = {"type": "feedback", "issue_id": issue_id, "occurred_at": at + draw.uniform(60, WINDOW_S - 60)}
        if draw.random() < 0.3:
            lines.append(feedback | {"kind": "click"})
        if draw.random() < (0.7 if category == likes else 0.05):
            lines.append(feedback | {"kind": "purchase"})
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path
