"""Golden journeys on the real pipeline: Faust, a broker, two workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_coupons import topics
from stream_coupons.broker import BrokerProcess
from stream_coupons.core.similarity import feature_index
from stream_coupons.demo.system import LocalSystem

from .builders import (
    AT,
    IDLE_WITHIN_S,
    browse,
    coupon,
    distinct_issues,
    messages,
    publish_journey,
    settings,
    total,
    violations,
)

pytestmark = pytest.mark.kafka

COUPONS = [coupon(item, items=[item], stock=5) for item in "ABCD"]


@pytest.fixture(scope="module")
def system(module_broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    folder: Path = tmp_path_factory.mktemp("workers")
    system = LocalSystem(module_broker, settings(), folder, workers=2)
    system.prepare(COUPONS)
    with system:
        system.wait_ready()
        yield system


def test_who_browsed_a_carted_b_and_ordered_c_is_given_d_that_the_neighbours_like(system: LocalSystem) -> None:
    with system.publisher() as publisher:
        for user_id, items in (("u2", "BCD"), ("u3", "CDA"), ("u1", "ABC")):
            publish_journey(publisher, user_id, *items)
            system.wait_idle(IDLE_WITHIN_S)
        publisher.send(topics.BROWSE, browse("later", "u1", at=AT + 1))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)

    update = [update for update in messages(system, topics.NEIGHBOURS) if update.user_id == "u1"][-1]
    assert {near.user_id: near.similarity for near in update.neighbours} == pytest.approx({"u2": 2 / 3, "u3": 2 / 3})
    sums = dict(zip(update.indices, update.weights, strict=True))
    assert sums[feature_index("item:D")] == pytest.approx(4 / 3, abs=1e-6)
    assert [issue.coupon_id for issue in distinct_issues(system).values() if issue.trigger_id == "later"] == ["D"]
    assert violations(system) == []


def test_the_same_event_twice_leads_to_one_issue_and_counts_as_a_duplicate(system: LocalSystem) -> None:
    before = total(system, "duplicates_total", topic="browse-events")
    with system.publisher() as publisher:
        for _ in range(2):
            publisher.send(topics.BROWSE, browse("twice", "u4", "A"))
            publisher.flush()
            system.wait_idle(IDLE_WITHIN_S)
    issues = messages(system, topics.ISSUES)
    assert [issue.user_id for issue in issues if issue.trigger_id == "twice"] == ["u4"]
    assert total(system, "duplicates_total", topic="browse-events") - before == 1
    assert violations(system) == []
