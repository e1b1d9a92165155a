"""Logs of the engine's own, made by the functions that choose, draw and record, with effects that are known."""

from dataclasses import dataclass, field
from typing import Self

import msgspec
import numpy as np

from stream_coupons.core.decision import policy
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.effects import Booking, Effects, Stake
from stream_coupons.core.messages.decisions import DecisionResult, LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.money.accounts import Accounts
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.runtime.steps import SharedStates
from stream_coupons.testing import coupon, feedback, issue, item, order
from stream_coupons_lab.ope.own_log import OwnLog

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
)
MARGIN_RATIO, PRICE, DISCOUNT = 0.4, 1000, 100
BASE_RATE = 0.3
VALUES = np.array([[40.0, 10.0, -5.0], [5.0, 60.0, 20.0], [-9.0, -3.0, -1.0]])
"""Value of three coupons to three kinds of shopper, as the policy believes; the last kind is given nothing."""
EFFECTS = np.array([[0.3, 0.1, 0.0], [0.0, 0.4, 0.25], [0.05, 0.1, 0.3]])
"""P(one more order) by each coupon, in truth."""
GAINS = EFFECTS * (MARGIN_RATIO * PRICE - DISCOUNT)
NAMES = ("a", "b", "c")
NO_PRICES = (0.0, 0.0, 0.0)


@dataclass
class Shop:
    """Shoppers who come one after the other, one decision each.

    Attributes
    ----------
    kinds : list of int
        Of the shopper of each decision that is on record and not of the holdout, in order.
    """

    seed: int = 0
    stock: int | None = None
    rules: PolicyRules = RULES
    prices: tuple[float, ...] = NO_PRICES
    """What budgets charge for each coupon."""
    records: list[tuple[str, bytes]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.coupons = [
            coupon(
                name, stock=self.stock, max_discount_minor=DISCOUNT, discount_minor=DISCOUNT, typical_price_minor=None,
                margin_ratio=MARGIN_RATIO, redeem_within_s=WINDOW_S, categories=["tea"],
            )
            for name in NAMES
        ]  # fmt: skip
        self._limits = [Accounts([one]).of(one) for one in self.coupons]
        self._wallet = Wallet(SharedStates({}, Purse), partition=0, partitions=1)
        for each in self.coupons:
            self._add(topics.CATALOG, each)

    def _add(self, topic: topics.Topic, message: msgspec.Struct) -> None:
        self.records.append((topic.name, encode(message)))

    def see(self, shoppers: int, holdout_ratio: float = 0.0) -> Self:
        """Let so many shoppers come, a minute apart, and the last windows pass."""
        for n in range(shoppers):
            self._decide(f"u{n}", AT + 60.0 * n, is_holdout=self._rng.random() < holdout_ratio)
        self._order("later", AT + 60.0 * shoppers + 2 * WINDOW_S)
        return self

    def log(self) -> OwnLog:
        """What `ope` reads."""
        log = OwnLog()
        for topic, value in self.records:
            log.take(topic, value)
        return log

    def _decide(self, user_id: str, at: float, *, is_holdout: bool) -> None:
        kind = int(self._rng.integers(3))
        left = [
            row for row, limits in enumerate(self._limits) if self._wallet.shortage(limits, DISCOUNT, DISCOUNT) is None
        ]
        given = self._record(user_id, at, left, VALUES[kind, left], is_holdout=is_holdout) if left else None
        if left and not is_holdout:
            self.kinds.append(kind)
        self._live(user_id, at, kind, given)

    def _record(self, user_id: str, at: float, left: list[int], worth: np.ndarray, *, is_holdout: bool) -> int | None:
        """Choose among what is left; the coupon that is given."""
        prices = np.array([self.prices[row] for row in left])
        choice = policy.choose(worth - prices, user_id, self.rules, KEY)
        given: int | None = None
        result: DecisionResult = "not_worth_it"
        if choice.row is not None:
            result = "holdout" if is_holdout else "control" if choice.is_withheld else "given"
        if result == "given" and choice.row is not None:
            given = left[choice.row]
            stake = Stake(DISCOUNT)
            booking = Booking(NAMES[given], None, Stake(), stake, at, at, at + WINDOW_S, is_falling=False)
            self._wallet.draw(self._limits[given], booking, Effects())
        record = choice.logged(
            [NAMES[row] for row in left], worth, prices, decision_id=f"i-{user_id}", user_id=user_id,
            domain="ecommerce", at=at, trigger_id="t", result=result, model_version=1,
            sold_out=[name for row, name in enumerate(NAMES) if row not in left],
            coupon_id=NO_COUPON if given is None else NAMES[given],
            propensity=None if is_holdout else choice.propensity(None if given is None else choice.row),
            is_holdout=is_holdout,
        )  # fmt: skip
        self._add(topics.DECISIONS, record)
        return given

    def _live(self, user_id: str, at: float, kind: int, given: int | None) -> None:
        if self._rng.random() < BASE_RATE:
            self._order(user_id, at + 600.0)
        if given is not None and self._rng.random() < EFFECTS[kind, given]:
            self._order(user_id, at + 1200.0)
            about = issue(user_id, self.coupons[given], issue_id=f"i-{user_id}")
            used = feedback(about, "purchase", at=at + 1201.0, coupon_id=NAMES[given], discount_minor=DISCOUNT)
            self._add(topics.FEEDBACK, used)

    def _order(self, user_id: str, at: float) -> None:
        self._add(topics.ORDER, order(user_id, item("tea", category="tea", price_minor=PRICE), at=at))


def recording(shop: Shop) -> bytes:
    """The shop's log as `tail --recording` writes it."""
    lines = [
        msgspec.json.encode({"topic": name, "key": "k", "message": msgspec.Raw(value)}) for name, value in shop.records
    ]
    return b"\n".join(lines) + b"\n"


def decisions_of(shop: Shop) -> list[LoggedDecision]:
    """The decisions in order of time."""
    return sorted(shop.log().decisions.values(), key=lambda one: one.at)
