"""An input whose record asks for an answer gets one, whatever its result; without the header nothing changes."""

import pytest

from stream_coupons.core.decision.pipeline import issue_id
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.messages.decisions import CouponIssue, DecisionAnswer
from stream_coupons.core.messages.inputs import BrowseEvent, ErasureRequest, OrderEvent, ShopEvent
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from tests.core.builders import knowledge, repeatable, rules

from .fakes import Shop

ASKS = [("answer", b"1")]
_decode = Decoder(topics.ANSWERS)


def browse(event_id: str, at: float = 100.0) -> BrowseEvent:
    return BrowseEvent(event_id=event_id, user_id="u", occurred_at=at)


def known() -> Knowledge:
    of_policy = rules(cooldown_s=60.0, triggers=frozenset({"browse", "cart"}))
    return knowledge(repeatable("tea"), rules=of_policy)


def ask(shop: Shop, *events: ShopEvent, topic: topics.Topic = topics.BROWSE) -> list[DecisionAnswer]:
    """Return the answers to some events."""
    for event in events:
        shop.now = max(shop.now, event.occurred_at)
        shop.append(topic.name, 0, b"u", encode(event), ASKS)
    shop.settle()
    return [_decode(one.value) for one in shop.logs[topics.ANSWERS.name, 0]]


def test_a_coupon_is_answered_with_the_id_of_its_issue() -> None:
    shop = Shop(known, partitions=1)
    [answer] = ask(shop, browse("e1"))
    [record] = shop.logs[topics.ISSUES.name, 0]
    issue: CouponIssue = Decoder(topics.ISSUES)(record.value)
    assert answer == DecisionAnswer(issue.issue_id, "u", "e1", 100.0, "given")
    assert shop.logs[topics.ANSWERS.name, 0][0].key == b"u"


def test_a_trigger_without_a_decision_on_record_is_answered_with_its_reason() -> None:
    shop = Shop(known, partitions=1)
    answers = ask(shop, browse("e1"), browse("e2", 101.0))
    assert [(one.trigger_id, one.result) for one in answers] == [("e1", "given"), ("e2", "cooldown")]
    assert len(shop.logs[topics.ISSUES.name, 0]) == 1


def test_an_event_that_came_before_is_answered_as_a_duplicate_with_the_same_id() -> None:
    first, second = ask(Shop(known, partitions=1), browse("e1"), browse("e1"))
    assert (first.result, second.result) == ("given", "duplicate")
    assert first.decision_id == second.decision_id == issue_id("u", "browse", "e1")


def test_an_event_that_is_no_trigger_is_answered() -> None:
    order = OrderEvent(event_id="o", user_id="u", occurred_at=100.0, order_id="o1")
    [answer] = ask(Shop(known, partitions=1), order, topic=topics.ORDER)
    assert answer.result == "no_trigger"


def test_an_event_of_before_an_erasure_is_answered() -> None:
    shop = Shop(known, partitions=1)
    shop.publish(topics.ERASURES, ErasureRequest(event_id="f", user_id="u", occurred_at=200.0))
    shop.settle()
    [answer] = ask(shop, browse("e1", 150.0))
    assert answer.result == "erasure"


@pytest.mark.parametrize("headers", [(), [("client", b"shop")]])
def test_without_the_header_the_outputs_are_the_same_but_for_the_answer(headers: list[tuple[str, bytes]]) -> None:
    outputs = []
    for asks in (headers, ASKS):
        shop = Shop(known, partitions=1)
        shop.now = 100.0
        shop.append(topics.BROWSE.name, 0, b"u", encode(browse("e1")), asks)
        shop.settle()
        outputs.append([one for one in shop.everything[1:] if one.topic != topics.ANSWERS.name])
    assert outputs[0] == outputs[1]
    assert {one.topic for one in outputs[0]} >= {topics.ISSUES.name, topics.DECISIONS.name}


def test_an_answer_is_sent_again_byte_for_byte_when_its_input_is_replayed() -> None:
    shop = Shop(known, partitions=1)
    shop.append(topics.BROWSE.name, 0, b"u", encode(browse("e1")), ASKS)
    shop.process("users", 0, crash=2.0)
    shop.settle()
    first, second = shop.logs[topics.ANSWERS.name, 0]
    assert (first.key, first.value, first.headers) == (second.key, second.value, second.headers)
