"""A foreign log whose truth is known: shoppers of two tastes, two coupons and `none`, chosen by known propensities.

Shoppers show their taste by what they browse before each decision.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

START_AT = 1_767_225_600.0
ARMS = ("none", "tea", "toys")
BROWSED = ("tea", "toys")
"""By taste."""
CLICKS = np.array([[0.0, 0.5, 0.1], [0.0, 0.1, 0.4]])
"""P(click) by taste and arm."""
PURCHASES = np.array([[0.1, 0.45, 0.1], [0.3, 0.3, 0.45]])
ORDER_MINOR = 2000
PROPENSITIES = np.array([[0.3, 0.3, 0.4], [0.3, 0.5, 0.2]])
"""By taste and arm: the logging policy looks at the shopper."""


def unchanged(issue: dict[str, Any]) -> None:
    """Leave an issue as it is."""


Change = Callable[[dict[str, Any]], None]


class RandomisedLog:
    """`decisions` decisions, one a minute, about a third as many shoppers; labels come within the hour."""

    def __init__(self, decisions: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.shopper = rng.integers(0, decisions // 3, decisions)
        self.taste = self.shopper % 2
        self.arm = (rng.random((decisions, 1)) > PROPENSITIES[self.taste].cumsum(axis=1)).sum(axis=1)
        self.clicked = rng.random(decisions) < CLICKS[self.taste, self.arm]
        self.purchased = rng.random(decisions) < PURCHASES[self.taste, self.arm]

    def lines(self, change: Change = unchanged) -> list[dict[str, Any]]:
        """The log; `change` may change each issue."""
        found: list[dict[str, Any]] = []
        for i, (taste, arm) in enumerate(zip(self.taste.tolist(), self.arm.tolist(), strict=True)):
            at = START_AT + 60.0 * i
            issue: dict[str, Any] = {
                "type": "issue",
                "issue_id": f"i{i}",
                "user_id": f"u{self.shopper[i]}",
                "occurred_at": at,
                "expires_at": at + 3600.0,
                "coupon": coupon(ARMS[arm]),
                "arms": list(ARMS),
                "propensity": float(PROPENSITIES[taste, arm]),
            }
            change(issue)
            item = {"item_id": f"{BROWSED[taste]}-{i % 7}", "category": BROWSED[taste]}
            found.append({"type": "browse", "user_id": issue["user_id"], "occurred_at": at - 30.0, "item": item})
            found.append(issue)
            feedback = {"type": "feedback", "issue_id": f"i{i}", "occurred_at": at + 600.0}
            if self.clicked[i]:
                found.append(feedback | {"kind": "click"})
            if self.purchased[i]:
                found.append(feedback | {"kind": "purchase", "order_value_minor": ORDER_MINOR})
        # The last windows close, too.
        return [*found, {"type": "browse", "user_id": "last", "occurred_at": START_AT + 60.0 * len(self.arm) + 7200.0}]

    def write(self, path: Path, change: Change = unchanged) -> Path:
        """The log as a file."""
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in self.lines(change)))
        return path


def coupon(arm: str) -> dict[str, Any] | None:
    """The coupon of an arm."""
    if arm == "none":
        return None
    return {
        "coupon_id": arm,
        "categories": [arm],
        "discount_percent": 10,
        "max_discount_minor": 300,
        "typical_price_minor": ORDER_MINOR,
        "margin_ratio": 0.3,
    }
