"""Ignored fields and domains of events are counted and logged, within bounds that no producer can exceed."""

import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stream_coupons.agents.users import Users
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Record
from stream_coupons.observability.input_sample import LOG_EVERY_S, MAX_LABELS, InputSample
from stream_coupons.observability.metrics import Metrics
from tests.agents.test_keyed import known

IDS: dict[str, Any] = {"event_id": "e", "user_id": "u", "occurred_at": 1.0}
CLIENT = (("client", b"basket 7.3"),)


class Shop:
    """A worker's sample and what it exports."""

    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Metrics(CollectorRegistry())
        self.users = Users(known, 1, sample=InputSample(self.metrics, lambda: self.now))

    def send(self, topic: topics.Topic = topics.BROWSE, offset: int = 0, value: bytes = b"", **fields: Any) -> None:
        data = value or encode(IDS | fields)
        self.users.parse(Record(topic.name, 2, offset, 1000, b"u", data, CLIENT))

    def counted(self, what: str, topic: topics.Topic = topics.BROWSE) -> dict[str, float]:
        samples = self.metrics.registry.collect()
        return {
            sample.labels[what]: sample.value
            for family in samples
            for sample in family.samples
            if sample.name == f"stream_coupons_unknown_{what}s_total" and sample.labels["topic"] == topic.name
        }


def test_one_offset_in_256_is_searched() -> None:
    shop = Shop()
    for offset in range(1024):
        shop.send(offset=offset, itme=1)
    assert shop.counted("field") == {"itme": 4}


def test_an_unknown_field_is_counted_once_an_event_and_named_with_its_client(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    items = [{"item_id": "a", "categry": "tea"}, {"item_id": "b", "categry": "tea"}]
    with caplog.at_level(logging.WARNING):
        shop.send(topics.ORDER, order_id="o", items=items)
        shop.send(topics.ORDER, 256, order_id="o", items=items)
    assert shop.counted("field", topics.ORDER) == {"items.categry": 2}
    assert caplog.messages == [
        "order-events:2:0: workers ignore the unknown field 'items.categry', expected category? (client 'basket 7.3')"
    ]
    shop.now = LOG_EVERY_S
    shop.send(topics.ORDER, 512, order_id="o", items=items)
    assert [text.split(":")[2] for text in caplog.messages] == ["0", "512"]


def test_a_domain_without_coupons_is_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    shop.send(domain="ecomerce")
    shop.send(topics.ERASURES, domain="ecomerce")  # it concerns all domains
    shop.send()
    assert (shop.counted("domain"), shop.counted("domain", topics.ERASURES)) == ({"ecomerce": 1}, {})
    assert caplog.messages == [
        "browse-events:2:0: the catalogue has no coupon of domain 'ecomerce' (client 'basket 7.3')"
    ]


def test_labels_are_bounded() -> None:
    shop = Shop()
    for n in range(2 * MAX_LABELS):
        shop.send(offset=256 * n, **{f"field{n}": 1, "x" * 500: 1})
    counted = shop.counted("field")
    assert len(counted) <= MAX_LABELS + 1
    assert sum(counted.values()) == 4 * MAX_LABELS
    assert max(map(len, counted)) <= 100


def test_what_nobody_reads_may_hold_anything() -> None:
    shop = Shop()
    shop.send(value=encode(IDS)[:-1] + b',"x":"\xff"}')
    assert shop.counted("field") == {}
