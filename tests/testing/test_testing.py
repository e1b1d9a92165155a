"""The local pipeline, the clock and the builders, as somebody uses them who integrates with the system."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from stream_coupons.core.messages import (
    BrowseEvent,
    CouponIssue,
    LoggedDecision,
    TrainingExample,
)
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Output
from stream_coupons.testing import (
    START,
    LocalPipeline,
    ManualClock,
    browse,
    campaign,
    cart,
    coupon,
    erasure,
    feedback,
    issue,
    item,
    observed,
    order,
    plain_settings,
)
from tests.core.builders import for_life

HOUR_S, DAY_S = 3600.0, 86400.0
TEA = item("tea-0815", category="tea", price_minor=449)


def new_shop(**options: Any) -> LocalPipeline:
    return LocalPipeline(plain_settings(), [coupon("tea-10", categories=["tea"])], **options)


# ------------------------------------------------------------ builders


@pytest.mark.parametrize("build", [coupon, campaign, item, partial(browse, "ann"), partial(issue, "ann")])
def test_a_field_that_the_message_does_not_have_is_an_error(build: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="bugdet_minor"):
        build(bugdet_minor=100)


def test_an_event_without_an_id_has_one_that_depends_on_its_content_only() -> None:
    events = [
        browse("ann", TEA),
        browse("ann"),
        browse("bob", TEA),
        browse("ann", TEA, at=START + 1),
        browse("ann", TEA, context={"channel": "app"}),
    ]
    assert len({event.event_id for event in events}) == len(events)
    assert browse("ann", TEA) == events[0]


def test_what_is_built_without_any_field_is_a_message_that_the_system_takes() -> None:
    shop = new_shop()
    given = issue("ann")
    shop.publish(
        browse("ann"), cart("ann", item()), order("ann"), order("ann", item()), observed("ann", "tea-10"),
        feedback(given, "click"), feedback(observed("ann", "tea-10"), "purchase"), erasure("bob"),
    )  # fmt: skip
    assert shop.dead_letters == []
    assert sum(shop.sent[topic.name] for topic in topics.INPUTS) == 8


def test_an_issue_has_the_terms_of_its_coupon() -> None:
    shop = new_shop()
    shop.publish(browse("ann", TEA))
    [real] = shop.issues
    made = issue("ann", coupon("tea-10", categories=["tea"]))
    for name in ("coupon_id", "domain", "expires_at", "discount_minor", "max_discount_minor", "title", "held_minor"):
        assert getattr(made, name) == getattr(real, name), name


# ------------------------------------------------------------ the pipeline


def test_the_next_visit_is_decided_on_when_the_one_before_has_been() -> None:
    shop = LocalPipeline(
        plain_settings(),
        [coupon("one", categories=["tea"], stock=1), coupon("two", categories=["ham"], caps=for_life(1))],
    )
    shop.publish(*(browse("ann", at=START + number) for number in range(3)))
    assert sorted(one.coupon_id for one in shop.issues) == ["one", "two"]
    assert [one.result for one in shop.messages(LoggedDecision)] == ["given", "given"]


def test_budgets_of_campaigns_hold() -> None:
    terms = coupon("tea-10", campaign_id="spring", budget_hold="maximum")
    shop = LocalPipeline(
        plain_settings(), [terms], campaigns=[campaign("spring", budget_minor=250, budget_hold="maximum")]
    )
    shop.publish(*(browse(f"u{number}", at=START + number) for number in range(9)))
    assert len(shop.issues) == 2


def test_a_coupon_that_is_used_in_time_becomes_a_positive_label() -> None:
    clock = ManualClock()
    shop = new_shop(clock=clock)
    shop.publish(browse("ann", TEA), browse("bob", TEA))
    clock.advance(HOUR_S)
    shop.publish(feedback(shop.issues[0], "purchase", at=clock(), discount_minor=45))
    clock.advance(9 * DAY_S)
    shop.tick()
    labels = {one.user_id: one.label for one in shop.messages(TrainingExample) if one.head == "redeem"}
    assert labels == {"ann": True, "bob": False}
    assert shop.trainer.models


def test_by_a_clock_events_of_the_future_are_refused_and_old_ones_lead_to_nothing() -> None:
    clock = ManualClock(START)
    shop = new_shop(clock=clock)
    shop.publish(browse("ann", TEA, at=START + 2 * DAY_S), browse("bob", TEA, at=START - 2 * HOUR_S))
    assert [letter["reason"] for letter in shop.dead_letters] == ["from_the_future"]
    assert shop.issues == []
    clock.now = START + 2 * DAY_S
    shop.publish(browse("ann", TEA, at=START + 2 * DAY_S))
    assert [one.user_id for one in shop.issues] == ["ann"]


def test_without_a_clock_no_event_is_too_early_or_too_late() -> None:
    shop = new_shop()
    shop.publish(browse("ann", TEA, at=START + 900 * DAY_S), browse("bob", TEA, at=0.0))
    assert [one.user_id for one in shop.issues] == ["ann", "bob"]
    with pytest.raises(ValueError, match="expected `at`, or a pipeline with a clock"):
        shop.tick()


def test_bytes_are_validated_as_a_worker_does() -> None:
    shop = new_shop()
    shop.publish_bytes("browse-events", b"ann", b'{"event_id": "b1", "user_id": "ann"}')
    shop.publish_bytes("browse-events", b"bob", b'{"event_id": "b1", "user_id": "ann", "occurred_at": 1e9}')
    first, second = shop.dead_letters
    assert (first["reason"], first["topic"]) == ("invalid", "browse-events")
    assert "occurred_at" in first["detail"]
    assert second["reason"] == "wrong_key"


def test_only_messages_of_upstream_services_are_published() -> None:
    shop = new_shop()
    with pytest.raises(TypeError, match="CouponIssue is no message of upstream services: expected BrowseEvent"):
        shop.publish_together([browse("ann", TEA), issue("ann")])
    assert shop.sent == {}


def test_a_tick_reaches_every_partition_or_the_one_named() -> None:
    shop = new_shop(partitions=4)
    shop.tick(START)
    shop.tick(START + 1, partition=2)
    ticks = [output.partition for output in shop.outputs if output.topic == topics.TICKS.name]
    assert ticks == [0, 1, 2, 3, 2]


def test_records_that_are_handed_over_are_not_kept() -> None:
    taken: list[Output] = []
    shop = new_shop(on_output=taken.append)
    shop.publish(browse("ann", TEA))
    assert taken[0].topic == "browse-events"
    assert shop.sent["coupon-issues"] == sum(output.topic == "coupon-issues" for output in taken) == 1
    assert (shop.outputs, shop.issues) == ([], [])


def test_models_that_are_not_served_at_once_are_served_on_demand() -> None:
    shop = new_shop(serves_at_once=False)
    shop.publish(browse("ann", TEA))
    shop.tick(START + 9 * DAY_S)
    shop.publish(browse("eve", TEA, at=START + 10 * DAY_S))
    shop.serve_models()
    shop.publish(browse("bob", TEA, at=START + 10 * DAY_S))
    first, second, third = (one.model_version for one in shop.issues)
    assert first == second == 0 < third


def test_a_listener_hears_the_messages_of_its_type_where_no_records_are_kept() -> None:
    shop, heard = new_shop(on_output=lambda _: None), []
    shop.listen(CouponIssue, heard.append)
    shop.listen(BrowseEvent, heard.append)
    shop.publish(event := browse("ann", TEA))
    assert [type(message) for message in heard] == [BrowseEvent, CouponIssue]
    assert heard[0] == event
    assert shop.outputs == []


def test_facts_count_the_decisions() -> None:
    shop = new_shop()
    shop.publish(browse("ann", TEA), browse("bob", TEA))
    assert shop.facts["decision", "given"] == len(shop.issues) == 2


def test_a_history_leads_to_no_coupon_and_tells_what_shoppers_like() -> None:
    shop = LocalPipeline(plain_settings(), [coupon("coffee", categories=["coffee"]), coupon("tea", categories=["tea"])])
    with shop.without_coupons():
        for visit in range(10):
            shop.publish(browse("u", item("T", category="tea"), at=START + 8 * HOUR_S * visit))
    shop.tick(START + 100 * HOUR_S)
    assert not shop.issues
    assert not [kind for noun, kind in shop.facts if noun == "decision"]

    shop.publish(browse("u", at=START + 101 * HOUR_S))
    assert [issue.coupon_id for issue in shop.issues] == ["tea"]
