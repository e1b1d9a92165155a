"""Logs of other systems, written by hand or drawn at random, and read."""

import json
import random
from typing import Any

from stream_coupons.core.rules import AttributionRules
from stream_coupons.ops.recordings import lines
from stream_coupons.settings import Settings
from stream_coupons_lab.datasets.foreign import WINDOW_S, ForeignLog, take_all

AT = 1_767_348_000.0
HOUR_S, DAY_S = 3600.0, 86400.0
Record = dict[str, Any]


def read(records: list[Record], window_s: float = WINDOW_S) -> ForeignLog:
    return take_all(lines(json.dumps(record).encode() for record in records), "log.jsonl", window_s)


def issue(issue_id: str = "i1", at: float = AT, **about: Any) -> Record:
    plain = {"type": "issue", "issue_id": issue_id, "user_id": "u1", "occurred_at": at, "coupon": {"coupon_id": "c1"}}
    return {**plain, **about}


def feedback(kind: str, issue_id: str = "i1", at: float = AT + HOUR_S, **about: Any) -> Record:
    return {"type": "feedback", "issue_id": issue_id, "occurred_at": at, "kind": kind, **about}


def browse(at: float, user_id: str = "u1", item_id: str = "tea") -> Record:
    item = {"item_id": item_id, "category": "hot", "price_minor": 449}
    return {"type": "browse", "user_id": user_id, "occurred_at": at, "item": item}


def drawn(issues: int, seed: int = 0, shoppers: int = 12) -> list[Record]:
    """A log of some days, in order of time: who likes a category uses its coupons, and rain helps."""
    rng = random.Random(seed)
    categories = ["hot", "cold", "dry"]
    coupons = [
        {"coupon_id": f"c{n}", "categories": [categories[n % 3]], "discount_percent": 5 * (n + 1), "colour": f"{n % 2}"}
        for n in range(6)
    ]
    arms = [coupon["coupon_id"] for coupon in coupons] + ["none"]
    records: list[Record] = []
    for n in range(issues):
        at, user = AT + n * HOUR_S, f"u{rng.randrange(shoppers)}"
        likes = categories[int(user[1:]) % 3]
        item = {"item_id": f"{likes}-{rng.randrange(4)}", "category": likes, "price_minor": rng.randrange(100, 2000)}
        records.append({"type": "browse", "user_id": user, "occurred_at": at - 60, "item": item})
        weather, arm = rng.choice(["rain", "sun"]), rng.randrange(7)
        about = {"context": {"weather": weather, "temperature": rng.uniform(-5, 30)}, "propensity": 1 / 7, "arms": arms}
        coupon = coupons[arm] if arm < 6 else None
        records.append(issue(f"i{n}", at, user_id=user, coupon=coupon, **about))
        chance = 0.1 if coupon is None else 0.6 if coupon["categories"] == [likes] else 0.15
        if rng.random() < chance + 0.1 * (weather == "rain"):
            clicked_at = at + rng.expovariate(1 / HOUR_S)
            records.append(feedback("click", f"i{n}", clicked_at))
            if rng.random() < 0.6:
                bought_at = clicked_at + rng.expovariate(1 / HOUR_S)
                records.append(feedback("purchase", f"i{n}", bought_at, order_value_minor=rng.randrange(500, 5000)))
                order = {"type": "order", "user_id": user, "occurred_at": bought_at, "items": [item]}
                records.append(order)
    return sorted(records, key=lambda record: float(record["occurred_at"]))


def declining(issues: int, seed: int, *, expires: bool) -> list[Record]:
    """A log of three days and the rest of its windows: tea valid for four hours, toys for a day; users buy in time.

    `expires` says whether shoppers who decline are recorded at once, by an expiry.
    """
    rng = random.Random(seed)
    records: list[Record] = []
    for n in range(issues):
        at, shopper = AT + n * 3 * DAY_S / issues, rng.randrange(issues // 3)
        likes = ("tea", "toys")[shopper % 2]
        name, window_s = rng.choice([("tea", 4 * HOUR_S), ("toys", DAY_S)])
        item = {"item_id": likes, "category": likes, "price_minor": 449}
        records.append({"type": "browse", "user_id": f"u{shopper}", "occurred_at": at - 30, "item": item})
        coupon = {"coupon_id": name, "categories": [name], "discount_percent": 10}
        records.append(issue(f"i{n}", at, user_id=f"u{shopper}", coupon=coupon, expires_at=at + window_s))
        bought_at = at + rng.uniform(600, window_s / 2)
        if rng.random() < (0.6 if name == likes else 0.2):
            records.append(feedback("purchase", f"i{n}", bought_at, order_value_minor=449))
        elif expires:
            records.append(feedback("expiry", f"i{n}", at + 20))
    records.append(browse(AT + 5 * DAY_S, "last"))
    return sorted(records, key=lambda record: float(record["occurred_at"]))


def settings(**attribution: Any) -> Settings:
    return Settings(attribution=AttributionRules(**attribution))
