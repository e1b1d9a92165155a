"""Logs of the engine's own, made by the functions that decide, reserve and record, with effects that are known."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from stream_coupons import topics
from stream_coupons.codec import encode
from stream_coupons.core import decision_log, policy
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.events import (
    Alternative,
    Coupon,
    FeedbackEvent,
    Item,
    LoggedDecision,
    OrderEvent,
    Proposal,
    Reservation,
)
from stream_coupons.core.ledger import Ledger, reserve
from stream_coupons.core.rules import PolicyRules
from stream_coupons.evaluation.own_log import OwnLog

AT = 1_767_348_000.0
DAY_S = 86400.0
WINDOW_S = 2 * DAY_S
KEY = DrawKey(b"own logs")
RULES = PolicyRules(
    exploration_ratio=0.4,
    explored_candidates=10,
    control_ratio=0.1,
    min_value_minor=0.0,
    cost_minor=0.0,
    alternatives=2,
)
MARGIN_RATIO, PRICE, DISCOUNT = 0.4, 1000, 100
BASE_RATE = 0.3
VALUES = np.array([[40.0, 10.0, -5.0], [5.0, 60.0, 20.0], [-9.0, -3.0, -1.0]])
"""Value of three coupons to three kinds of shopper, as the policy believes; the last kind is given nothing."""
EFFECTS = np.array([[0.3, 0.1, 0.0], [0.0, 0.4, 0.25], [0.05, 0.1, 0.3]])
"""P(one more order) by each coupon, in truth."""
GAINS = EFFECTS * (MARGIN_RATIO * PRICE - DISCOUNT)
NAMES = ("a", "b", "c")


@dataclass
class Shop:
    """Shoppers who come one after the other, one decision each.

    Attributes
    ----------
    left : list of tuple of bool
        By decision in order, which coupons were not sold out for it.
    kinds : list of int
        Of the shopper of each decision.
    """

    seed: int = 0
    stock: int | None = None
    rules: PolicyRules = RULES
    records: list[tuple[str, bytes]] = field(default_factory=list)
    left: list[tuple[bool, ...]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.coupons = [
            Coupon(
                coupon_id=name, stock=self.stock, max_discount_minor=DISCOUNT, discount_minor=DISCOUNT,
                margin_ratio=MARGIN_RATIO, redeem_within_s=WINDOW_S, categories=["tea"],
            )
            for name in NAMES
        ]  # fmt: skip
        self._ledgers = {name: Ledger() for name in NAMES}
        for coupon in self.coupons:
            self._add(topics.CATALOG, coupon)

    def _add(self, topic: topics.Topic, message: msgspec.Struct) -> None:
        self.records.append((topic.name, encode(message)))

    def see(self, shoppers: int, holdout_ratio: float = 0.0) -> None:
        """Let so many shoppers come, a minute apart, and the last windows pass."""
        for n in range(shoppers):
            self._decide(f"u{n}", AT + 60.0 * n, is_holdout=self._rng.random() < holdout_ratio)
        self._order("later", AT + 60.0 * shoppers + 2 * WINDOW_S)

    def log(self) -> OwnLog:
        """What `ope` reads."""
        log = OwnLog()
        for topic, value in self.records:
            log.take(topic, value)
        return log

    def _decide(self, user_id: str, at: float, *, is_holdout: bool) -> None:
        kind = int(self._rng.integers(3))
        worth = VALUES[kind]
        choice = policy.choose(worth, user_id, self.rules, KEY)
        chosen_among = decision_log.considered(list(NAMES), worth, choice)
        left = [self.stock is None or self._ledgers[name].reserved < self.stock for name in NAMES]
        about: dict[str, Any] = {
            "decision_id": f"i-{user_id}", "user_id": user_id, "domain": "ecommerce", "at": at, "trigger_id": "t",
            "model_version": 1, "ratio": 1.0, "is_holdout": is_holdout,
        }  # fmt: skip
        given = None
        if is_holdout or not choice.order:
            result: Any = "holdout" if is_holdout else "control" if choice.is_control else "not_worth_it"
            record = decision_log.entry(chosen_among, result=result, **about)
        else:
            answer = self._ask(choice, user_id, at)
            refused = decision_log.refused(chosen_among, answer)
            if answer.granted:
                given = NAMES.index(answer.coupon_id)
                about["coupon_id"] = answer.coupon_id
                about["propensity"] = choice.propensity(given, len(refused))
            result = "given" if answer.granted else "sold_out"
            record = decision_log.entry(chosen_among, result=result, refused=refused, **about)
        self._add(topics.DECISIONS, record)
        if not is_holdout:
            self.left.append(tuple(left))
            self.kinds.append(kind)
        self._live(user_id, at, kind, given)

    def _ask(self, choice: policy.Choice, user_id: str, at: float) -> Reservation:
        proposal = Proposal(
            proposal_id=user_id, user_id=user_id, at=at, expires_at=at + 60, is_drawn=choice.is_drawn,
            alternatives=[Alternative(NAMES[row], DISCOUNT) for row in choice.order],
        )  # fmt: skip
        while True:
            name = proposal.coupon_id
            [message] = reserve(self._ledgers[name], self.coupons[NAMES.index(name)], proposal).messages
            if isinstance(message, Reservation):
                return message
            assert isinstance(message, Proposal)
            proposal = message

    def _live(self, user_id: str, at: float, kind: int, given: int | None) -> None:
        if self._rng.random() < BASE_RATE:
            self._order(user_id, at + 600.0)
        if given is not None and self._rng.random() < EFFECTS[kind, given]:
            self._order(user_id, at + 1200.0)
            self._add(
                topics.FEEDBACK,
                FeedbackEvent(
                    event_id=f"f-{user_id}", user_id=user_id, occurred_at=at + 1201.0, issue_id=f"i-{user_id}",
                    kind="purchase", coupon_id=NAMES[given], discount_minor=DISCOUNT,
                ),
            )  # fmt: skip

    def _order(self, user_id: str, at: float) -> None:
        event_id = f"o-{user_id}-{at}"
        tea = Item(item_id="tea", category="tea", price_minor=PRICE)
        self._add(
            topics.ORDER,
            OrderEvent(event_id=event_id, user_id=user_id, occurred_at=at, order_id=event_id, items=[tea]),
        )


def recording(shop: Shop) -> bytes:
    """The shop's log as `tail --recording` writes it."""
    lines = [
        msgspec.json.encode({"topic": name, "key": "k", "message": msgspec.Raw(value)}) for name, value in shop.records
    ]
    return b"\n".join(lines) + b"\n"


def decisions_of(shop: Shop) -> list[LoggedDecision]:
    """The decisions in order of time."""
    return sorted(shop.log().decisions.values(), key=lambda one: one.at)
