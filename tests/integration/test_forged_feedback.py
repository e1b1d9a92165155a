"""Feedback on a coupon that this shopper was never issued waits for it, and is refused when its time has passed."""

from pathlib import Path
from typing import Any

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.testing import browse
from stream_coupons_lab.demo.system import LocalSystem

from .builders import (
    AT,
    IDLE_WITHIN_S,
    coupon,
    messages,
    records,
    send_ticks,
    settings,
    total,
    violations,
)

pytestmark = pytest.mark.kafka

WAITS_S = 60.0
COUPONS = [coupon("c1", budget_minor=800)]


def forged(event_id: str, user_id: str, issue_id: str, kind: Any) -> FeedbackEvent:
    about = {"user_id": user_id, "occurred_at": AT, "issue_id": issue_id, "order_id": "o1"}
    return FeedbackEvent(event_id=event_id, kind=kind, **about)


def test_forged_feedback_changes_nothing_and_is_in_dead_letters_once_it_waited(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(early_feedback_s=WAITS_S), tmp_path, workers=2)
    system.prepare(COUPONS)
    with system, system.publisher() as publisher:
        system.wait_ready()
        publisher.send(topics.BROWSE, browse("honest", event_id="b"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        [issue] = messages(system, topics.ISSUES)
        events = [
            forged("f1", "thief", "never-issued", "click"),
            forged("f2", "thief", issue.issue_id, "purchase"),
        ]
        for event in events:
            publisher.send(topics.FEEDBACK, event)
        send_ticks(system, publisher, AT + WAITS_S - 1)
        system.wait_idle(IDLE_WITHIN_S)
        assert records(system, "dead-letters") == []

        send_ticks(system, publisher, AT + WAITS_S)
        send_ticks(system, publisher, AT + WAITS_S + 1)
        system.wait_idle(IDLE_WITHIN_S)

        letters = records(system, "dead-letters")
        assert sorted((letter.key, letter.value) for letter in letters) == sorted(
            (b"thief", encode(event)) for event in events
        )
        partition = topics.partition_for(b"thief", system.settings.kafka.partitions)
        for letter in letters:
            headers = {name: value.decode() for name, value in letter.headers}
            assert headers["reason"] == "unknown_issue"
            assert "never issued to this shopper" in headers["detail"]
            assert (headers["topic"], headers["partition"]) == ("coupon-feedback", str(partition))
        assert total(system, "coupons_ended_total") == 0
        assert total(system, "feedback_total", kind="click") == total(system, "feedback_total", kind="purchase") == 0
        assert violations(system) == []
