"""The brake in the whole system: it acts where coupons lose, releases when they earn again, and spares what earns."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from stream_coupons.agents.users import Users
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.ops.digest import digests_of
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.testing import START, LocalPipeline, browse, coupon, feedback, item, order, plain_settings
from tests.core.builders import DAY_S, FixedScorer, knowledge, rules

TEA, PRICE, OFF = item("green", category="tea", price_minor=1000), 1000, 100


@dataclass
class TeaShop:
    """Shoppers who come once and order tea anyway; with a coupon, some order once more, at its discount."""

    earns: bool
    brakes: bool = True
    seen: int = 0
    given: list[CouponIssue] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        terms = coupon("tea", categories=["tea"], discount_minor=OFF, max_discount_minor=OFF, redeem_within_s=DAY_S)
        settings = plain_settings(holdout_ratio=0.3, totals_every_s=0.0, lift_brake=self.brakes, brake_probe_ratio=0.3)
        self.shop = LocalPipeline(settings, [terms], scorer=FixedScorer())
        self.shop.listen(CouponIssue, self.given.append)
        self.shop.listen(LoggedDecision, lambda one: self.results.update([one.result]))

    def open(self, shoppers: int, *, day: int) -> Counter[str]:
        """Let new shoppers come on a day, and return the results of their decisions."""
        at, before = START + day * DAY_S, Counter(self.results)
        for number in range(self.seen, self.seen + shoppers):
            self.given.clear()
            user = f"shopper-{number}"
            self.shop.publish(browse(user, TEA, at=at))
            self.shop.publish(order(user, TEA, at=at + 5))
            for issue in self.given:
                self.shop.publish(feedback(issue, "purchase", at=at + 5, discount_minor=OFF))
                if self.earns:
                    self.shop.publish(order(user, TEA, at=at + 9))
        self.seen += shoppers
        self.shop.tick(at + 10)
        return self.results - before

    @property
    def brake(self) -> LiftBrake:
        return self.shop.lift.brakes["ecommerce"]


def braked() -> TeaShop:
    """A shop in which coupons lose, after 80 shoppers."""
    tea = TeaShop(earns=False)
    assert set(tea.open(80, day=0)) == {"given", "holdout"}
    assert tea.brake == LiftBrake(period=1, given_ratio=0.3)
    return tea


def test_a_shop_in_which_coupons_lose_gives_few() -> None:
    tea = braked()
    results = tea.open(120, day=1)
    assert results["lift_below_zero"] > 40
    assert 10 < results["given"] < 40
    assert tea.shop.facts["decision", "lift_below_zero"] == results["lift_below_zero"]
    assert tea.brake.is_on, "those who still get coupons lose"


def test_a_brake_is_released_when_coupons_earn_again() -> None:
    tea = braked()
    tea.earns = True
    tea.open(120, day=1)
    assert tea.brake == LiftBrake(period=2)
    assert set(tea.open(20, day=2)) == {"given", "holdout"}


def test_a_shop_in_which_coupons_earn_is_not_braked() -> None:
    tea = TeaShop(earns=True)
    tea.open(80, day=0)
    assert tea.brake == LiftBrake()
    assert tea.shop.lift.lifts["ecommerce"].low > 0


def test_a_setting_turns_the_brake_off() -> None:
    tea = TeaShop(earns=False, brakes=False)
    tea.open(80, day=0)
    assert tea.shop.lift.lifts["ecommerce"].high < 0
    assert set(tea.open(40, day=1)) == {"given", "holdout"}


def test_a_replay_brakes_at_the_same_event() -> None:
    played = []
    for _ in range(2):
        tea = TeaShop(earns=False)
        tea.open(80, day=0)
        tea.open(30, day=1)
        played.append((tea.shop.outputs, digests_of(tea.shop.states())))
    assert played[0] == played[1]


@pytest.mark.parametrize("size", [7, 10_000])
def test_batches_that_are_cut_otherwise_make_the_same_sums(size: int) -> None:
    known = knowledge(coupon("tea", categories=["tea"]), rules=rules(holdout_ratio=0.3))
    tea = TeaShop(earns=True, brakes=False)
    tea.open(60, day=0)
    read = {topic.name for topic in Users.reads} - {topics.TICKS.name, topics.LEASES.name}
    records = [
        Record(one.topic, 0, offset, int(END_OF_TIME * 1000), one.key, one.value, tuple(one.headers))
        for offset, one in enumerate(tea.shop.outputs)
        if one.topic in read
    ]
    sums = []
    for step in (1, size):
        batches = BatchProcessor(Users(lambda: known, 1), topics.TICKS.name, topics.partition_for, 1)
        batches.adopt(0, MemoryCells())
        for first in range(0, len(records), step):
            batches.save(batches.apply(0, records[first : first + step], {}))
        sums.append(batches.shared(0)["lift:ecommerce"])
    assert sums[0] == sums[1]
    assert sums[0].buyers == 60
