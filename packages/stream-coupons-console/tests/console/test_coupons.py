"""State of coupons in words, and feedback that is read before its decision."""

from collections.abc import Mapping
from typing import Any

import pytest

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import ErasureRequest, FeedbackEvent
from stream_coupons.core.money.holdings import Account, HoldingSums
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Record
from stream_coupons.settings import Settings
from stream_coupons.testing import builders
from stream_coupons_console.index import Index
from stream_coupons_console.web.coupons import coupon_state

NOW = 1_767_348_000.0


def coupon(**fields: Any) -> Coupon:
    return Coupon(coupon_id="tea", discount_percent=10, max_discount_minor=100, **fields)


@pytest.mark.parametrize(
    ("fields", "campaign", "accounts", "state"),
    [
        ({}, None, {}, "given"),
        ({"paused": True, "campaign_id": "spring"}, "held", {}, "paused"),
        ({"campaign_id": "spring"}, "held", {}, "campaign held"),
        ({"campaign_id": "spring"}, "ramp", {}, "given"),
        ({"valid_from": NOW + 1}, None, {}, "not begun"),
        ({"valid_until": NOW}, None, {}, "over"),
        ({"stock": 5}, None, {"units:tea": Account(sums=HoldingSums(drawn=5))}, "sold out"),
        ({"stock": 6}, None, {"units:tea": Account(sums=HoldingSums(drawn=5))}, "given"),
        ({"budget_minor": 500}, None, {"money:tea": Account(sums=HoldingSums(spent=450))}, "budget used"),
        ({"budget_minor": 500}, None, {"money:tea": Account(sums=HoldingSums(spent=300))}, "given"),
    ],
)
def test_a_state_is_the_first_reason_for_which_nobody_gets_a_coupon(
    fields: Mapping[str, Any], campaign: str | None, accounts: Mapping[str, Account], state: str
) -> None:
    assert coupon_state(coupon(**fields), campaign, accounts, NOW) == state


def record(topic: topics.Topic, message: Any) -> Record:
    return Record(topic.name, 0, 0, int(NOW * 1000), topic.key_of(message), encode(message), ())


def test_feedback_that_is_read_before_its_decision_counts_unless_its_shopper_was_erased() -> None:
    clicked = FeedbackEvent(
        event_id="f", user_id="ann", occurred_at=NOW + 5, issue_id="i1", coupon_id="tea", kind="click"
    )
    issue = builders.issue("ann", coupon(), at=NOW, issue_id="i1")
    index = Index(Settings())
    index.take(record(topics.FEEDBACK, clicked))
    index.take(record(topics.ISSUES, issue))
    [shown] = index.latest_of("tea", 5)
    assert shown.feedback == {"click": NOW + 5}
    index.take(record(topics.ERASURES, ErasureRequest(event_id="x", user_id="ann", occurred_at=NOW + 9)))
    assert index.latest_of("tea", 5) == []
    assert not index.unread
    assert index.latest_of('"t', 5) == []
