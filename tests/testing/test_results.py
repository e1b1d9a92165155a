"""Results of coupons in the whole system: they equal a recount from the log, whatever the batches and partitions."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stream_coupons.agents.users import Users
from stream_coupons.core.local_time import local_time
from stream_coupons.core.measurement.result_sums import Numbers
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.rules import ShopRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells, StateCodec
from stream_coupons.settings import Settings
from stream_coupons.testing import START, LocalPipeline, browse, coupon, feedback, item, plain_settings
from tests.core.builders import DAY_S, HOUR_S, knowledge, rules

ZONE, GRACE_S = "Pacific/Auckland", DAY_S
NAMES = ("tea", "salt", "oil")
COUPONS = [
    coupon(name, categories=[name], max_discount_minor=90, redeem_within_s=2 * DAY_S, campaign_id="spring")
    for name in NAMES
]
pytestmark = pytest.mark.long

SPRING = Campaign(campaign_id="spring")
POLICY: dict[str, Any] = {"min_value_minor": -1e6, "totals_every_s": 0.0}


def settings() -> Settings:
    plain = plain_settings(**POLICY)
    return Settings(policy=plain.policy, shop=ShopRules(time_zone=ZONE))


@dataclass
class Recount:
    """Recount the results from the log of issues and feedback, without code of the engine."""

    issues: dict[str, CouponIssue] = field(default_factory=dict)
    kinds: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    orders: defaultdict[str, dict[str | None, FeedbackEvent]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, event: FeedbackEvent) -> None:
        is_in_grace = event.occurred_at < self.issues[event.issue_id].expires_at + GRACE_S
        if is_in_grace:  # later ones are dead letters; reports of money are booked
            self.kinds[event.issue_id].add(event.kind)
        if event.kind in ("purchase", "refund", "cancel"):
            self.orders[event.issue_id][event.order_id] = event

    def results(self) -> dict[tuple[str, int], Numbers]:
        found: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0] * len(Numbers._fields))
        for one in self.issues.values():
            kinds, orders = self.kinds[one.issue_id], self.orders[one.issue_id].values()
            kept = [order for order in orders if order.kind != "cancel"]
            row = (
                1,
                bool(kept or kinds & {"impression", "click"}),
                "click" in kinds,
                bool(kept),
                len(kept),
                sum(order.discount_minor or 0 for order in kept),
                sum(order.order_value_minor or 0 for order in kept),
            )
            key = one.coupon_id, local_time(one.issued_at, ZONE).day
            found[key] = [a + b for a, b in zip(found[key], row, strict=True)]
        return {key: Numbers(*row) for key, row in found.items()}


def played(partitions: int = 1, seed: int = 1, hours: int = 24 * 6) -> tuple[LocalPipeline, Recount]:
    """Play shoppers who come, and what they do with their coupons until some days later."""
    chance, shop, log = (
        random.Random(seed),
        LocalPipeline(settings(), COUPONS, campaigns=[SPRING], partitions=partitions),
        Recount(),
    )
    given: list[CouponIssue] = []
    shop.listen(CouponIssue, given.append)
    waiting: list[tuple[float, FeedbackEvent]] = []
    for hour in range(hours):
        at = START + hour * HOUR_S
        shop.publish(browse(f"u{chance.randrange(40)}", item("x", category=chance.choice(NAMES)), at=at))
        for issue in given:
            log.issues[issue.issue_id] = issue
            waiting += answers(issue, chance)
        given.clear()
        for due, event in sorted(waiting, key=lambda each: each[0]):
            if due <= at:
                log.note(event)
                shop.publish(event)
        waiting = [each for each in waiting if each[0] > at]
        shop.tick(at + 1)
    return shop, log


def answers(issue: CouponIssue, chance: random.Random) -> list[tuple[float, FeedbackEvent]]:
    """Draw what a shopper does with a coupon: within its window, late, twice, and with corrections."""
    kinds: Sequence[str] = chance.choice(
        [(), ("impression",), ("click", "click"), ("impression", "purchase"), ("purchase", "refund"),
         ("click", "purchase", "cancel"), ("purchase", "again"), ("again", "purchase", "cancel")]
    )  # fmt: skip
    begins = issue.issued_at + chance.choice([1.0, 40.0, 80.0]) * HOUR_S
    found = []
    for place, kind in enumerate(kinds):
        at = begins + place * HOUR_S
        about: dict[str, Any] = {}
        if kind not in ("impression", "click"):
            about = {"order_id": f"{issue.issue_id}-{kind == 'again'}", "discount_minor": 0 if kind == "cancel" else 30}
        if kind in ("purchase", "again"):
            about["order_value_minor"] = chance.randrange(1000)
        if kind == "refund":
            about |= {"discount_minor": 10, "order_value_minor": 5}
        name = "purchase" if kind == "again" else kind
        found.append((at, feedback(issue, name, at=at, event_id=f"{issue.issue_id}-{place}", **about)))
    return found


def added_up(totals: Sequence[ResultTotals]) -> dict[tuple[str, int], Numbers]:
    latest = LatestReports[ResultTotals]()
    for one in totals:
        latest.take(one)
    parts = {subject: latest.parts(subject) for subject in latest.of}
    return {
        subject: Numbers(*(sum(getattr(one, name) for one in some) for name in Numbers._fields))
        for subject, some in parts.items()
    }


@pytest.mark.parametrize("partitions", [1, 3])
def test_live_results_equal_a_recount_of_issues_and_feedback(partitions: int) -> None:
    shop, log = played(partitions)
    found = added_up(shop.messages(ResultTotals))
    assert found == log.results()
    assert len({day for _, day in found}) > 5
    sums = [sum(column) for column in zip(*found.values(), strict=True)]
    assert min(sums) > 0
    assert {one.campaign_id for one in shop.messages(ResultTotals)} == {"spring"}


def test_results_reported_in_any_batches_are_the_same_bytes() -> None:
    shop, _ = played()
    read = {topic.name for topic in Users.reads} - {topics.LEASES.name, topics.NEIGHBOURS.name}
    known = knowledge(*COUPONS, campaigns=[SPRING], rules=rules(**POLICY, shop=ShopRules(time_zone=ZONE)))
    records = [
        Record(one.topic, 0, offset, int(START * 1000), one.key, one.value)
        for offset, one in enumerate(each for each in shop.outputs if each.topic in read)
    ]
    first, *others = [in_batches(records, known, size) for size in (1, 50, 200)]
    assert len(first[0]) > 20
    assert all(each == first for each in others)


def in_batches(records: list[Record], known: Any, size: int) -> tuple[list[Any], dict[str, bytes]]:
    """Return what the agent reports of results, and the shared states that it keeps of them."""
    batches = BatchProcessor(Users(lambda: known, 1), topics.TICKS.name, topics.partition_for, 1)
    batches.adopt(0, MemoryCells())
    sent: list[Output] = []
    for begin in range(0, len(records), size):
        result = batches.apply(0, records[begin : begin + size], {})
        batches.save(result)
        sent += result.outputs
    reports = [(one.key, one.value) for one in sent if one.topic == topics.RESULT_TOTALS.name]
    return reports, {key: data for key, data in batches.cells(0).items() if key.startswith("\0results:")}


def test_results_of_final_days_leave_the_state_and_stay_in_the_topic() -> None:
    shop, log = played(hours=48)
    end = START + 60 * DAY_S
    shop.tick(end)
    shop.tick(end + DAY_S)
    codec: StateCodec[Any] = StateCodec(Users.shared_type)
    kept = [codec.decode(data) for _, _, key, data in shop.states() if key.startswith("\0results:")]
    assert {len(one.days) for one in kept} == {0}
    assert added_up(shop.messages(ResultTotals)) == log.results()
